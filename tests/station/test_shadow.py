"""Challengers score beside the loop: they change no verdict, delay none, and end nothing."""

import threading
import time
from pathlib import Path

import pytest

from inspection.core.decision import Verdict
from inspection.core.guards import Guard
from inspection.core.imaging import Rgb
from inspection.hub.wire.retraining import Shadow as OnTheWire
from inspection.station import shadow as shadow_module
from inspection.station.settings import GuardSettings
from inspection.station.shadow import WAITING, Scored, Shadow
from tests.fakes import TableJudges, TableScorer
from tests.station.rig import Rig, configure, part

pytestmark = pytest.mark.fast

OFF = GuardSettings.model_validate(dict.fromkeys([*Guard, "frozen"], "off"))
PARTS = [("a", 40), ("b", 150), ("c", 255), ("d", 90)]
VERDICTS = ["PASS", "REVIEW", "REJECT", "PASS"]


class Stuck(TableScorer):
    """A challenger that never comes back, until the test is over."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.over = threading.Event(), threading.Event()

    def prepare(self, pixels: Rgb) -> Rgb:
        """Hang."""
        self.begun.set()
        self.over.wait(30)
        return super().prepare(pixels)


class Bench:
    """A loop whose champion has a challenger beside it."""

    def __init__(self, folder: Path, challenger: TableScorer, **changes: object) -> None:
        challenger.bundle_id = "challenger"
        self.champion = TableScorer()
        self.champion.challenger = challenger
        self.scored: list[Scored] = []
        self.shadow = Shadow(OFF, self.scored.append)
        judges = TableJudges(default={"main": self.champion})
        config = configure(folder, guards=OFF.model_dump(), **changes)
        self.rig = Rig(config, judges, beside=self.shadow.take)

    def run(self, parts: list[tuple[str, int]] = PARTS) -> list[str]:
        """Judge parts; gives the verdicts that left."""
        self.rig.run([part(name, red) for name, red in parts])
        return [str(event.verdict) for event in self.rig.signalled]

    def settle(self) -> list[Scored]:
        """Wait until nothing waits to be scored."""
        until = time.monotonic() + 5
        while self.shadow._ended < self.shadow._taken and time.monotonic() < until:
            time.sleep(0.001)
        assert self.shadow._ended == self.shadow._taken
        return self.scored


def test_each_judged_frame_is_scored_by_both_and_the_champion_decides(tmp_path: Path):
    bench = Bench(tmp_path, TableScorer({40: 0.9, 150: 0.6, 255: 0.1, 90: 0.2}))
    assert bench.run() == VERDICTS
    said = [one.said for one in bench.settle()]
    assert [(one.event_id, one.verdict, one.champion) for one in said] == [
        ("id-a", "REJECT", "PASS"),
        ("id-b", "REVIEW", "REVIEW"),
        ("id-c", "PASS", "REJECT"),
        ("id-d", "PASS", "PASS"),
    ]
    assert said[0].score == pytest.approx(0.9)
    assert (said[0].camera, said[0].bundle_id) == ("main", "challenger")
    assert [event.frames[0].bundle_id for event in bench.rig.signalled] == ["table-scorer"] * 4


def test_what_is_said_is_what_the_hub_takes(tmp_path: Path):
    bench = Bench(tmp_path, TableScorer())
    bench.run(PARTS[:1])
    (scored,) = bench.settle()
    sent = scored.said.model_copy(update={"bundle_id": "a" * 64}).model_dump_json()
    assert OnTheWire.model_validate_json(sent).at == bench.rig.signalled[0].judged_at


def test_a_challenger_that_hangs_changes_no_verdict_and_holds_up_none(tmp_path: Path):
    """It hangs on the first part; all others find no room beside it and are counted."""
    stuck = Stuck()
    bench = Bench(tmp_path, stuck)
    parts = [(f"{number}", 40) for number in range(20)]
    assert bench.run(parts) == ["PASS"] * 20
    assert stuck.begun.wait(5)
    assert bench.shadow.lost("challenger") == 20 - WAITING
    assert bench.scored == []
    bench.shadow.close()  # comes back though the thread does not
    stuck.over.set()


def test_a_verdict_leaves_before_its_part_is_scored(tmp_path: Path):
    """The challenger begins when everybody has heard of the event."""
    stuck = Stuck()
    bench = Bench(tmp_path, stuck)
    begun_at_signal = []
    bench.rig.signal = lambda _event: begun_at_signal.append(stuck.begun.is_set())
    bench.rig.run([part("a", 40)])
    assert stuck.begun.wait(5)
    assert begun_at_signal == [False]
    stuck.over.set()


def test_a_slow_challenger_delays_no_verdict(tmp_path: Path):
    """The line goes ten times faster; what finds room is scored in the end, the rest counted."""
    bench = Bench(tmp_path, TableScorer(takes_s=0.05), deadline_ms=2000)
    assert bench.run([(f"{number}", 40) for number in range(12)]) == ["PASS"] * 12
    assert len(bench.settle()) + bench.shadow.lost("challenger") == 12


def test_a_challenger_that_raises_is_a_fault_of_its_own(tmp_path: Path):
    bench = Bench(tmp_path, TableScorer({40: RuntimeError("broken"), 150: float("nan")}))
    assert bench.run() == VERDICTS
    said = [one.said for one in bench.settle()]
    assert [one.verdict for one in said] == ["FAULT", "FAULT", "REJECT", "PASS"]
    assert [one.score is None for one in said] == [True, True, False, False]
    assert bench.shadow.lost("challenger") == 0


def test_what_goes_wrong_behind_it_is_counted_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def explode(_frame: object) -> bytes:
        raise RuntimeError("no such encoder")

    monkeypatch.setattr(shadow_module, "as_captured", explode)
    bench = Bench(tmp_path, TableScorer({40: 0.9, 90: 0.9}))
    assert bench.run() == VERDICTS
    assert [one.said.event_id for one in bench.settle()] == ["id-b", "id-c"]
    assert bench.shadow.lost("challenger") == 2
    assert caplog.messages == ["part not scored in the shadow"]


def test_a_frame_the_champion_did_not_judge_is_not_scored(tmp_path: Path):
    bench = Bench(tmp_path, TableScorer())
    bench.champion.table = {40: RuntimeError("broken")}
    bench.run(PARTS[:2])
    assert [one.said.event_id for one in bench.settle()] == ["id-b"]


def test_the_picture_of_a_disagreement_goes_with_it_and_no_other(tmp_path: Path):
    """The event of a PASS names a picture that is kept only if the challenger does not agree."""
    bench = Bench(tmp_path, TableScorer({40: 0.9}), spool={"keep_pass_share": 0.0})
    bench.run([("a", 40), ("d", 90)])
    first, second = bench.settle()
    named = [event.frames[0].image for event in bench.rig.signalled]
    assert named == ["0000000001-main.png", "0000000002-main.png"]
    assert list((tmp_path / "data/pictures/PASS").glob("*")) == []
    assert first.picture is not None
    assert (first.picture.name, first.picture.encode()[:4]) == (named[0], b"\x89PNG")
    assert second.picture is None


def test_without_challenger_no_picture_of_a_pass_is_named_and_no_thread_runs(tmp_path: Path):
    bench = Bench(tmp_path, TableScorer(), spool={"keep_pass_share": 0.0})
    bench.champion.challenger = None
    assert bench.run(PARTS[:1]) == ["PASS"]
    assert bench.rig.signalled[0].frames[0].image is None
    assert bench.shadow._pool is None


def test_a_fault_is_no_disagreement_to_look_at(tmp_path: Path):
    bench = Bench(tmp_path, TableScorer({40: RuntimeError("broken")}))
    bench.run(PARTS[:1])
    (scored,) = bench.settle()
    assert (scored.said.verdict, scored.picture) == (Verdict.FAULT, None)
