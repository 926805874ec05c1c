"""Challengers score in processes beside the loop: they change no verdict and end nothing."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from inspection.bench.redness import BAND
from inspection.bundles.seal import verify_bundle
from inspection.bundles.signing import KEYS_VARIABLE
from inspection.core.decision import Verdict
from inspection.core.geometry import Roi
from inspection.core.guards import Guard
from inspection.core.known import Recognised
from inspection.hub.wire.retraining import Shadow as OnTheWire
from inspection.station import scorer as scorer_module
from inspection.station import shadow as shadow_module
from inspection.station.judge import Accepted, Challenger, Seen
from inspection.station.scorer import PROGRAM, Scorer
from inspection.station.scoring import Opening
from inspection.station.service import _Watch
from inspection.station.settings import GuardSettings
from inspection.station.shadow import WAITING, Scored, Shadow
from tests.fakes import TableJudges, TableScorer
from tests.station.bundles import make_bundle
from tests.station.rig import Rig, configure, part

OFF = GuardSettings.model_validate(dict.fromkeys([*Guard, "frozen"], "off"))
PARTS = [("a", 40), ("b", 150), ("c", 255), ("d", 90)]
VERDICTS = ["PASS", "REVIEW", "REJECT", "PASS"]
ON_150 = """
from inspection.station import scoring
real = scoring.look_at
def look_at(pixels, *rest, **wanted):
    if pixels[0, 0, 0] == 150:
        {}
    return real(pixels, *rest, **wanted)
scoring.look_at = look_at
scoring.main()
"""
"""A program that does something else with the part 'b'."""


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "keys"))


class Bench:
    """A loop whose champion has a challenger that scores `gain` times as high beside it."""

    def __init__(self, folder: Path, gain: float = 2, **changes: object) -> None:
        rival = make_bundle(folder / "rival", gain=gain, day=1)
        self.rival = verify_bundle(rival)
        self.champion = TableScorer()
        self.champion.challenger = Challenger(self.rival, rival, Roi(), BAND)
        self.scored: list[Scored] = []
        config = configure(folder, guards=OFF.model_dump(), **changes)
        self.shadow = Shadow(config, self.scored.append)
        judges = TableJudges(default={"main": self.champion})
        self.rig = Rig(config, judges, beside=self.shadow.take)

    def run(self, parts: list[tuple[str, int]] = PARTS) -> list[str]:
        """Judge parts; gives the verdicts that left."""
        self.rig.run([part(name, red) for name, red in parts])
        return [str(event.verdict) for event in self.rig.signalled]

    def settle(self) -> list[Scored]:
        """Wait until nothing waits to be scored."""
        until = time.monotonic() + 60
        while self.shadow._ended < self.shadow._taken and time.monotonic() < until:
            time.sleep(0.01)
        assert self.shadow._ended == self.shadow._taken
        return self.scored

    @property
    def said(self) -> list[tuple[str, str]]:
        """The verdicts of all that was scored, by part."""
        return [(one.said.event_id, str(one.said.verdict)) for one in self.settle()]

    @property
    def pids(self) -> list[int]:
        """The processes that score."""
        return [one.pid for one in self.shadow._scorers.values()]


@pytest.fixture
def make_bench(tmp_path: Path):
    """Make benches whose processes end with the test."""
    made = []

    def make(gain: float = 2, **changes: object) -> Bench:
        made.append(Bench(tmp_path, gain, **changes))
        return made[-1]

    yield make
    for one in made:
        one.shadow.close()


def runs(pid: int) -> bool:
    """Say whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ended(pid: int, within_s: float = 10) -> bool:
    until = time.monotonic() + within_s
    while runs(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not runs(pid)


def test_each_judged_frame_is_scored_by_both_and_the_champion_decides(make_bench):
    """In a process of the lowest priority, in one thread; what it says is what the hub takes."""
    bench = make_bench()
    assert bench.run() == VERDICTS
    said = [one.said for one in bench.settle()]
    assert [(one.event_id, one.verdict, one.champion) for one in said] == [
        ("id-a", "PASS", "PASS"),
        ("id-b", "REJECT", "REVIEW"),
        ("id-c", "REJECT", "REJECT"),
        ("id-d", "REVIEW", "PASS"),
    ]
    assert said[0].score == pytest.approx(80 / 255)
    assert (said[0].camera, said[0].bundle_id) == ("main", bench.rival)
    assert 0 < said[0].latency_ms < 10_000
    assert [event.frames[0].bundle_id for event in bench.rig.signalled] == ["table-scorer"] * 4
    assert OnTheWire.model_validate_json(said[0].model_dump_json()).at == said[0].at
    assert said[0].at == bench.rig.signalled[0].judged_at
    (pid,) = bench.pids
    assert os.getpriority(os.PRIO_PROCESS, pid) == 19
    assert bench.shadow.lost(bench.rival) == 0


def test_the_picture_of_a_disagreement_goes_with_it_and_no_other(make_bench, tmp_path: Path):
    """The event of a PASS names a picture that is kept only if the challenger does not agree."""
    bench = make_bench(spool={"keep_pass_share": 0.0})
    bench.run([("d", 90), ("a", 40)])
    first, second = bench.settle()
    named = [event.frames[0].image for event in bench.rig.signalled]
    assert named == ["0000000001-main.png", "0000000002-main.png"]
    assert list((tmp_path / "data/pictures/PASS").glob("*")) == []
    assert first.picture is not None
    assert (first.picture.name, first.picture.encode()[:4]) == (named[0], b"\x89PNG")
    assert second.picture is None


def test_a_process_that_dies_on_a_frame_is_its_fault_and_is_started_anew(
    make_bench, monkeypatch: pytest.MonkeyPatch, caplog
):
    monkeypatch.setattr(scorer_module, "PROGRAM", ON_150.format("__import__('os').abort()"))
    monkeypatch.setattr(shadow_module, "PAUSE_S", 0.0)
    bench = make_bench()
    assert bench.run() == VERDICTS
    assert bench.said == [
        ("id-a", "PASS"),
        ("id-b", "FAULT"),
        ("id-c", "REJECT"),
        ("id-d", "REVIEW"),
    ]
    fault = bench.scored[1]
    assert (fault.said.score, fault.picture, bench.shadow.lost(bench.rival)) == (None, None, 0)
    (record,) = [one for one in caplog.records if one.message == "part not scored in the shadow"]
    assert "ended, exit code -6" in record.reason


def test_a_process_that_hangs_changes_no_verdict_and_is_ended(
    make_bench, monkeypatch: pytest.MonkeyPatch
):
    """What comes meanwhile finds no room and is counted; soon after it died nothing is scored.

    No FAULT, which withdraws a challenger: on a busy line one that starves looks the same.
    """
    monkeypatch.setattr(scorer_module, "PROGRAM", ON_150.format("__import__('time').sleep(600)"))
    monkeypatch.setattr(scorer_module, "SCORE_S", 1)
    bench = make_bench()
    parts = [("b", 150), *((f"{number}", 40) for number in range(20))]
    assert bench.run(parts) == ["REVIEW", *["PASS"] * 20]
    assert bench.said == []
    assert bench.shadow.lost(bench.rival) == 21
    assert bench.pids == []


def test_one_that_cannot_be_opened_silences_no_other(make_bench, tmp_path: Path):
    """Of a part with two cameras the other challenger scores its own frame."""
    bench = make_bench()
    other = make_bundle(tmp_path / "other", gain=3, day=2)
    broken = make_bundle(tmp_path / "broken", gain=3, day=3)
    lame = verify_bundle(broken)
    (broken / "card.json").write_text("{}")
    bench.rig.judges.recipes = {"default": {}}
    for camera, bundle_id, folder in (
        ("left", lame, broken),
        ("right", verify_bundle(other), other),
    ):
        scorer = TableScorer()
        scorer.challenger = Challenger(bundle_id, folder, Roi(), BAND)
        bench.rig.judges.recipes["default"][camera] = scorer
    one = part("a", 40)
    frames = tuple(replace(one.frames[0], camera=camera) for camera in ("left", "right"))
    bench.rig.run([replace(one, frames=frames)])
    assert [(said.said.camera, said.said.verdict) for said in bench.settle()] == [
        ("right", Verdict.PASS)
    ]
    assert (bench.shadow.lost(lame), bench.shadow.lost(verify_bundle(other))) == (1, 0)


def test_one_that_cannot_be_opened_is_no_fault_of_the_parts(make_bench, tmp_path: Path, caplog):
    bench = make_bench()
    (tmp_path / "rival/card.json").write_text("{}")
    assert bench.run() == VERDICTS
    assert (bench.said, bench.shadow.lost(bench.rival)) == ([], 4)
    (record,) = [one for one in caplog.records if one.message == "part not scored in the shadow"]
    assert "card.json" in record.reason


def test_what_hangs_is_left_at_the_end_and_ends(make_bench, monkeypatch: pytest.MonkeyPatch):
    """At once, and without a word: the station let go of it."""
    monkeypatch.setattr(scorer_module, "PROGRAM", "import time; time.sleep(600)")
    bench = make_bench()
    bench.run([(f"{number}", 40) for number in range(20)])
    assert bench.shadow.lost(bench.rival) == 20 - WAITING
    until = time.monotonic() + 10
    while not bench.pids and time.monotonic() < until:
        time.sleep(0.01)
    (pid,) = bench.pids
    begun_s = time.monotonic()
    bench.shadow.close()
    assert time.monotonic() - begun_s < 5
    assert ended(pid)
    assert bench.said == []


def test_the_process_ends_with_the_offer_and_another_challenger_has_its_own(
    make_bench, tmp_path: Path
):
    bench = make_bench()
    bench.run(PARTS[:1])
    bench.settle()
    (pid,) = bench.pids
    other = make_bundle(tmp_path / "other", gain=3, day=2)
    bench.champion.challenger = Challenger(verify_bundle(other), other, Roi(), BAND)
    bench.run([("e", 40)])
    assert bench.said == [("id-a", "PASS"), ("id-e", "PASS")]
    bench.shadow.keep([verify_bundle(other)])
    assert ended(pid)
    assert len(bench.pids) == 1


@pytest.mark.fast
def test_to_end_a_process_waits_for_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The thread of the heartbeat does it; a process may take seconds to go."""
    monkeypatch.setattr(scorer_module, "PROGRAM", "import time; time.sleep(600)")
    scorer = Scorer(Opening(tmp_path, (), OFF))
    wait = scorer._process.wait
    monkeypatch.setattr(scorer._process, "wait", lambda _timeout: time.sleep(3))
    begun_s = time.monotonic()
    scorer.close()
    assert time.monotonic() - begun_s < 1
    assert wait(10) == -signal.SIGKILL


def test_where_memory_runs_out_it_goes_before_the_station(make_bench):
    bench = make_bench()
    bench.run(PARTS[:1])
    bench.settle()
    (pid,) = bench.pids
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"


def test_the_station_s_heartbeat_ends_what_is_no_more_offered(make_bench):
    bench = make_bench()
    bench.run(PARTS[:1])
    bench.settle()
    (pid,) = bench.pids
    offered = {"redness": bench.rival}
    recipes = SimpleNamespace(challengers=lambda: offered)
    watch = _Watch(None, None, None, None, recipes=recipes, shadow=bench.shadow)
    (status,) = watch._challengers()
    assert (status.bundle_id, status.lost, runs(pid)) == (bench.rival, 0, True)
    offered.clear()
    assert watch._challengers() == ()
    assert ended(pid)


KILLED = """
import sys, time
from pathlib import Path
from inspection.bundles.signing import own_keys
from inspection.station.scorer import Scorer
from inspection.station.scoring import Opening
from inspection.station.settings import GuardSettings
scorer = Scorer(Opening(Path(sys.argv[1]), own_keys(), GuardSettings()))
scorer.open()
sys.stdout.write(f"{scorer.pid}\\n")
sys.stdout.flush()
time.sleep(600)
"""


def test_it_ends_with_a_station_that_is_killed(tmp_path: Path):
    rival = make_bundle(tmp_path / "rival", gain=2)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(rival)], stdout=subprocess.PIPE, text=True
    ) as station:
        pid = int(station.stdout.readline())
        assert runs(pid)
        os.kill(pid, signal.SIGTERM)  # systemd tells all processes of a unit; it scores on
        time.sleep(0.2)
        assert runs(pid)
        station.kill()
    assert ended(pid)


def test_it_ends_with_its_station_though_it_hangs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The thread that waits for the station's end goes on beside what hangs."""
    hangs = "from inspection.station import scoring; import time; "
    hangs += "scoring.serve = lambda _: time.sleep(600); scoring.main()"
    monkeypatch.setattr(scorer_module, "PROGRAM", hangs)
    scorer = Scorer(Opening(tmp_path, (), OFF))
    scorer._process.stdin.close()
    assert ended(scorer.pid, 30)
    scorer.close()


@pytest.mark.fast
def test_the_program_steps_back_before_it_loads_anything():
    assert PROGRAM.startswith("from inspection.bundles.priority import step_back; step_back(); ")


def test_what_goes_wrong_behind_it_is_counted_and_ends_nothing(make_bench, caplog):
    bench = make_bench()

    def explode(scored: Scored) -> None:
        if scored.said.event_id in {"id-a", "id-d"}:
            raise RuntimeError("no such ear")
        bench.scored.append(scored)

    bench.shadow._tell = explode
    assert bench.run() == VERDICTS
    assert bench.said == [("id-b", "REJECT"), ("id-c", "REJECT")]
    assert bench.shadow.lost(bench.rival) == 2
    assert caplog.messages.count("part not scored in the shadow") == 1


@pytest.mark.fast
def test_a_verdict_leaves_before_its_part_is_scored(tmp_path: Path):
    """Whoever is beside hears of the part when everybody has heard of the event."""
    heard = []
    rig = Rig(
        configure(tmp_path, guards=OFF.model_dump()), beside=lambda *_: heard.append("beside")
    )
    rig.signal = lambda _event: heard.append("signal")
    rig.run([part("a", 40)])
    assert heard == ["signal", "beside"]


def test_a_frame_the_champion_did_not_judge_is_not_scored(make_bench):
    bench = make_bench()
    bench.champion.table = {40: RuntimeError("broken")}
    bench.run(PARTS[:2])
    assert bench.said == [("id-b", "REJECT")]


@pytest.mark.fast
def test_without_challenger_no_picture_of_a_pass_is_named_and_nothing_runs(make_bench):
    bench = make_bench(spool={"keep_pass_share": 0.0})
    bench.champion.challenger = None
    assert bench.run(PARTS[:1]) == ["PASS"]
    assert bench.rig.signalled[0].frames[0].image is None
    assert (bench.shadow._pool, bench.pids) == (None, [])


def test_known_defects_are_no_disagreement(make_bench):
    """What they hold, a challenger that only scores lets pass, as the champion's score does."""
    bench = make_bench()
    said = Recognised(detector="d", detector_id="", status="done", latency_ms=1)
    seen = Seen(said, (), Verdict.REVIEW, "known defects: crack 0.91")
    bench.champion.recognise = lambda *_: seen
    bench.champion.accept = lambda _cut, _judgement, seen: Accepted(seen.verdict)
    assert bench.run([("a", 40)]) == ["REVIEW"]
    (one,) = bench.settle()
    assert (one.said.verdict, one.said.champion, one.picture) == ("PASS", "PASS", None)


def test_accept_rules_are_asked_on_neither_side(make_bench):
    """A scratch the rules accept is no disagreement with a challenger that rejects it, too."""
    bench = make_bench()
    bench.champion.accept = lambda _cut, _judgement, _seen: Accepted(Verdict.PASS, "small")
    assert bench.run([("c", 255)]) == ["PASS"]
    (one,) = bench.settle()
    assert (one.said.verdict, one.said.champion, one.picture) == ("REJECT", "REJECT", None)


def test_frames_that_are_no_block_of_memory_are_scored_and_not_changed(make_bench):
    bench = make_bench()
    one = part("a", 40)
    wide = np.full((12, 40, 3), 40, np.uint8)
    frame = one.frames[0].__class__("main", "camera main", wide[:, ::2])
    bench.rig.run([part("a", 40, frames=(frame,))])
    assert bench.said == [("id-a", "PASS")]
    assert (wide == 40).all()
