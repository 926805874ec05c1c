"""The climb goes on until a gate agrees; nothing is held against a champion that was refused."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from inspection.cli.compress import _code
from inspection.compression import compress as module
from inspection.compression.compress import Climb, CompressConfig, CompressReport, compress
from inspection.compression.ladder import Rung
from inspection.compression.ranking import Step, cost_of, times
from inspection.core.decision import Verdict
from inspection.core.errors import GateRefused, TrainingError
from inspection.core.gate import GateRecord, GateRow
from inspection.core.parts import DEFECT_SEED
from inspection.core.records import Interval, Label, Split
from inspection.core.settings import ExportConfig, TrainConfig
from inspection.retraining.measuring import DEFECTS_FROM
from inspection.retraining.race import Took
from tests.compression.test_ranking import step

pytestmark = pytest.mark.fast

EVERY = "1" * 200


def gate(found: str, refusals: tuple[str, ...] = (), evidence="test defects") -> GateRecord:
    """A gate that judged so many defects, as far as a climb reads it."""
    rows = tuple(
        GateRow(
            path=f"{number}.png",
            label=Label.DEFECT,
            defect=None,
            score=1,
            reference_score=1,
            verdict=Verdict.REJECT if one == "1" else Verdict.PASS,
        )
        for number, one in enumerate(found)
    )
    given = {"refusals": refusals, "evidence": evidence, "goods": Split.TEST, "rows": rows}
    return GateRecord.model_construct(passed=not refusals, **given)


@dataclass
class Story:
    """What a climb meets."""

    steps: dict[str, Step]
    gates: dict[str, GateRecord]
    made: list[str] = field(default_factory=list)


def climbed(story: Story, out: Path, monkeypatch, **budget: float) -> CompressReport:
    """Climb with everything told beforehand."""
    champion = story.steps["champion"]

    class Told(Climb):
        def __init__(self, _run, config, out):
            self.record = SimpleNamespace(sha256="0", manifest_sha256="0")
            self._config, self._out = config, out
            self._champion, *self._ladder = (
                Rung(name=name, how="", export=ExportConfig()) for name in story.steps
            )

        def _step(self, rung, _champion):
            story.made.append(rung.name)
            made = story.steps[rung.name]
            return made.model_copy(update={"cost": cost_of(champion.measured, made.measured)})

        def gate(self, name):
            found = story.gates[name]
            if found.refusals == ("no score",):
                raise GateRefused("a part has no finite score")
            return found

        def bundle(self, name):
            return self._out / name

    monkeypatch.setattr(module, "Climb", Told)
    monkeypatch.setattr(module, "write_record", lambda *_: None)
    return compress(Path("run"), CompressConfig(**budget or {"budget_ms": 5.0}), out)


def story_of(gates: dict[str, GateRecord]) -> Story:
    """A slow champion and two fast candidates that cost nothing."""
    steps = {"champion": step("champion", EVERY, 9)}
    steps |= {name: step(name, EVERY, ms) for name, ms in (("first", 3), ("second", 4))}
    return Story(steps, {"champion": gate(EVERY), **gates})


@pytest.mark.parametrize("why", ["recall", "no score"])
def test_a_rung_its_gate_refuses_does_not_end_the_climb(why: str, tmp_path: Path, monkeypatch):
    """The next one is made, and chosen."""
    story = story_of({"first": gate(EVERY, (why,)), "second": gate(EVERY)})
    report = climbed(story, tmp_path, monkeypatch)
    assert story.made == ["champion", "first", "second"]
    assert (report.chosen, report.kept, _code(report)) == ("second", True, 0)
    assert {row.name: row.refused is None for row in report.rows} == {
        "first": False,
        "second": True,
    }
    assert "Gates refused first before it" in report.words


def test_a_climb_ends_with_the_first_its_gate_passes(tmp_path: Path, monkeypatch):
    """What comes after it is not made."""
    story = story_of({"first": gate(EVERY)})
    assert climbed(story, tmp_path, monkeypatch).chosen == "first"
    assert story.made == ["champion", "first"]


@pytest.mark.parametrize("budget_ms", [5.0, 10.0])
def test_nothing_is_held_against_a_champion_that_was_refused(budget_ms, tmp_path, monkeypatch):
    """It is said, and ends with 1; no candidate is made, whatever the budget."""
    story = story_of({"champion": gate(EVERY, ("recall is low",))})
    report = climbed(story, tmp_path, monkeypatch, budget_ms=budget_ms)
    assert story.made == ["champion"]
    assert (report.chosen, report.rows, report.champion.refused) == (None, (), "recall is low")
    assert "its own gate refused it (recall is low)" in report.words
    assert _code(report) == 1


@pytest.mark.parametrize(
    ("lost", "defects", "code", "words"),
    [
        (12, 200, 1, "It loses more than asked (0.03)"),
        (3, 100, 0, "reaches beyond the 0.03 asked"),
        (0, 1_000, 0, "by which it was chosen."),
    ],
    ids=["more", "perhaps more", "no more"],
)
def test_what_is_lost_on_test_is_held_to_what_was_asked(
    lost, defects, code, words, tmp_path, monkeypatch
):
    """The candidate is kept in any case; above the limit the end is 1."""
    every = "1" * defects
    fewer = "0" * lost + "1" * (defects - lost)
    story = story_of({"champion": gate(every), "first": gate(fewer)})
    report = climbed(story, tmp_path, monkeypatch)
    assert (report.chosen, report.bundle, _code(report)) == ("first", "first", code)
    assert words in report.words
    if not lost:
        assert report.words.endswith(words)


def test_words_name_what_a_gate_judged_on(tmp_path: Path, monkeypatch):
    """Generated defects are no real ones, and not those by which candidates are ranked."""
    generated = gate(EVERY, evidence="generated defects")
    story = story_of({"champion": generated, "first": generated})
    report = climbed(story, tmp_path, monkeypatch)
    assert "200 other defects generated on good test parts, for want of real ones" in report.words
    assert (
        "200 real test defects"
        in climbed(story_of({"first": gate(EVERY)}), tmp_path, monkeypatch).words
    )
    assert DEFECT_SEED < DEFECTS_FROM  # far above all others
    assert not 0 <= DEFECTS_FROM - DEFECT_SEED < 1_000_000


def test_milliseconds_know_the_doubt_of_the_ratio_and_of_the_champion():
    """Their interval holds both."""

    def about(value: float, doubt: float) -> Interval:
        return Interval(value=value, low=value - doubt, high=value + doubt)

    champion = Took(p50_ms=about(10, 1), p95_ms=12)
    found = times(champion, about(0.5, 0.1), np.array([1.0] * 90 + [3.0] * 10))
    assert found.p50_ms.value == pytest.approx(5)
    assert (found.p50_ms.low, found.p50_ms.high) == pytest.approx((3.6, 6.6))
    assert found.p95_ms == pytest.approx(15)


def test_a_budget_may_be_a_share_of_what_the_champion_takes(tmp_path: Path, monkeypatch):
    """Half of 9 ms: the one of 4 ms keeps it, as does none at a third."""
    story = story_of({"first": gate(EVERY, ("recall",)), "second": gate(EVERY)})
    half = climbed(story, tmp_path, monkeypatch, budget_share=0.5)
    assert (half.chosen, half.budget_ms) == ("second", pytest.approx(4.5))
    third = climbed(story_of({"first": gate(EVERY)}), tmp_path, monkeypatch, budget_share=0.35)
    assert (third.chosen, third.budget_ms) == ("first", pytest.approx(3.15))
    assert climbed(story_of({}), tmp_path, monkeypatch, budget_share=0.3).chosen is None


@pytest.mark.parametrize("budget", [{}, {"budget_ms": 1.0, "budget_share": 0.5}])
def test_one_budget_is_wanted(budget: dict[str, float]):
    """Neither none nor two."""
    with pytest.raises(ValueError, match=r"budget_share: found (none|both); wanted one"):
        CompressConfig(**budget)


def test_a_run_that_judges_by_words_is_refused(tmp_path: Path, monkeypatch):
    """Before its features are read; its CLIP sees one size only."""
    record = SimpleNamespace(config=TrainConfig(model="WinClip"), graph="map")
    monkeypatch.setattr(module, "read_run", lambda _: record)
    with pytest.raises(TrainingError, match=r"model is WinClip.*wanted a model that was fitted"):
        compress(tmp_path, CompressConfig(budget_ms=1.0), tmp_path / "out")


def test_other_weights_of_our_network_are_another_candidate(tmp_path: Path, monkeypatch):
    """What an earlier release made with other weights is not taken as it is."""
    climb = Climb.__new__(Climb)
    climb.record, climb._out = SimpleNamespace(sha256="0"), tmp_path
    climb._config = CompressConfig(budget_ms=1.0)
    train = TrainConfig()
    rung = Rung(name="own", how="", export=ExportConfig(), train=train, student=True)
    assert train.backbone.name == "formulanet"
    folders = set()
    weights = tmp_path / "formulanet.safetensors"
    monkeypatch.setattr(module, "find_weights", lambda *_: (weights, "shipped"))
    for content in (b"one", b"other"):
        weights.write_bytes(content)
        folders.add(climb._folder(rung))
    assert len(folders) == 2
