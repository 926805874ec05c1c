"""The fault suite in its short form: a real station meets every fault, and no part is lost."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from inspection.bench.faults import process, suite
from inspection.bench.faults.altered import Alter, Answer, ask_twice, halve, zero
from inspection.bench.faults.kills import KILLED, die_at
from inspection.bench.faults.ledger import Ledger, account
from inspection.bench.faults.process import Station
from inspection.bench.faults.scenario import SHORT, Options, Scenario, Scene, not_measured
from inspection.bench.faults.signals import Connection, Signal, Signals
from inspection.bench.faults.slow import Answers
from inspection.bench.faults.triggers import TriggeredStation, read_triggers
from inspection.bench.frame import BenchReport
from inspection.bench.redness import make_bundle
from inspection.core.errors import ConfigError, InspectionError
from inspection.core.records import Event, read_record
from inspection.station.part import Intake
from inspection.station.spool import Spool
from tests.station.events import event

process.PRELOADED.append("pytest")  # else every life would import it


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the place of the keys that all bundles of these tests are signed with."""
    return str(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, keys: str) -> Path:
    """Give the bundle that judges by redness."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("INSPECTION_KEYS", keys)
        return make_bundle(tmp_path_factory.mktemp("redness") / "bundle")


@pytest.fixture(autouse=True)
def _same_keys(_alone: None, keys: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INSPECTION_KEYS", keys)


@pytest.mark.parametrize("scenario", suite.SCENARIOS, ids=lambda scenario: scenario.name)
def test_station_comes_through_every_fault(tmp_path: Path, bundle: Path, scenario: Scenario):
    """Each scenario, played for moments only, reaches all its goals."""
    found = scenario.play(Scene(tmp_path, bundle, SHORT))
    reasons = [reason for what, reason in found.rows if what == "not measured"]
    missed = [goal for goal in found.goals if not goal.reached and goal.found is not None]
    assert missed == []
    if reasons:
        pytest.skip(f"{scenario.name}: {reasons[0]}")
    assert len(found.goals) >= 1


def test_report_holds_every_goal_and_what_was_seen(tmp_path: Path):
    """The evidence is a bench report as all others are."""
    path = suite.run(tmp_path, options=SHORT, only=["out-of-memory"])
    report = read_record(path, BenchReport)
    assert path.name == "faults.json"
    assert report.settings["only"] == "out-of-memory"
    assert [goal.reached for goal in report.goals] == [True] * 7


def test_unknown_scenario_is_refused(tmp_path: Path):
    """A name that is none would else play nothing and report success."""
    with pytest.raises(ConfigError, match="--only: found 'fire'; wanted one of kills, "):
        suite.run(tmp_path, only=["fire"])


def test_long_form_is_what_was_promised():
    """10,000 kills, 2,000 slow clients, and outages of a minute, by default."""
    options = Options()
    assert (options.kills, options.slow_clients, options.outage_s) == (10_000, 2_000, 60)


def test_what_cannot_be_played_is_not_reached():
    """A scenario without its rights is a goal not reached, with the reason."""
    found = not_measured("disk full", "mount: permission denied")
    assert [(goal.found, goal.reached) for goal in found.goals] == [(None, False)]
    assert found.rows == (("not measured", "mount: permission denied"),)


def test_station_that_does_nothing_is_an_error(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
):
    """A wait has an end, and what was started is killed with it."""
    monkeypatch.setattr(process, "WAIT_S", 0.5)
    with Station(tmp_path, bundle) as station:
        station.start()
        with pytest.raises(InspectionError, match=r"a part: not within 0 s"):
            station.wait(lambda: station.signalled(1), "a part")


def forget_notes() -> None:
    """Let this process note no part before its shutter, as one of earlier days."""
    setattr(Spool, Spool.note.__name__, lambda _spool, _intent: None)


def test_kill_between_shutter_and_event_is_seen(tmp_path: Path, bundle: Path):
    """A station that notes no part before its shutter loses it, and the ledger says so."""
    with TriggeredStation(tmp_path, bundle) as station:
        for prepare in (forget_notes, nothing):
            station.start(prepare, partial(die_at, (Intake, "put"), 1))
            assert station.join() == KILLED
        station.start()
        assert station.finish().lost == 1


def nothing() -> None:
    """Leave the process as it is."""


@pytest.mark.fast
def test_list_of_triggers_tells_parts_seen_from_others(tmp_path: Path):
    """A trigger counts as a part from when its camera was asked, once however many frames."""
    (tmp_path / "list").write_text("a\nshutter\nb\nc\nshutter\nc\nshutter\n")
    assert read_triggers(tmp_path / "list") == ({"a", "c"}, {"a", "b", "c"})


@pytest.mark.fast
@pytest.mark.parametrize("alter", [zero, halve])
def test_model_that_reads_its_file_again_is_seen(tmp_path: Path, alter: Alter):
    """Whoever answers from an altered file is found out."""
    (tmp_path / "model.bin").write_bytes(b"weights!")

    def ask(folder: Path) -> Callable[[], Answer]:
        return lambda: np.frombuffer((folder / "model.bin").read_bytes(), np.uint8)

    with pytest.raises(SystemExit, match="1"):
        ask_twice(ask, tmp_path, alter)


@pytest.mark.fast
def test_requests_without_an_answer_are_counted():
    """Busy is an answer, an error of the server is none, and neither is a silent end."""
    answers = Answers(seconds=[0.1], given=Counter({"200": 5, "503": 3, "500": 2, "ReadError": 1}))
    found = {goal.what.partition(": ")[2]: goal.found for goal in answers.goals("hub")}
    assert found == {
        "requests without an answer": 1,
        "answers that do not say why": 2,
        "requests that were served": 5,
        "longest wait for an answer": 0.1,
        "log grew by": 0,
    }


def _lose(events: list[Event], _signals: Signals) -> None:
    del events[1]


def _double(events: list[Event], _signals: Signals) -> None:
    (frame,) = events[0].frames
    events.append(event(4, frames=(frame,)))


def _forge(_events: list[Event], signals: Signals) -> None:
    signals.connections[0].signals.append(Signal(4, f"{4:032x}", 1.0))


def _silence(_events: list[Event], signals: Signals) -> None:
    signals.connections[0].signals.pop()


def _repeat(_events: list[Event], signals: Signals) -> None:
    signals.connections.append(Connection(3, 2.0, [Signal(3, f"{3:032x}", 2.0)]))


@pytest.mark.fast
@pytest.mark.parametrize(
    ("damage", "field"),
    [
        pytest.param(_lose, "lost", id="event-lost"),
        pytest.param(_double, "twice", id="two-events-of-one-part"),
        pytest.param(_forge, "foreign", id="signal-without-event"),
        pytest.param(_silence, "silent", id="event-without-signal"),
        pytest.param(_repeat, "disordered", id="sent-again-though-acknowledged"),
    ],
)
def test_ledger_finds_what_is_wrong(
    tmp_path: Path, damage: Callable[[list[Event], Signals], None], field: str
):
    """Each kind of loss is counted under its own name, so a goal can be missed."""
    events = [event(number) for number in (1, 2, 3)]
    part_ids = [one.part_id for one in events]
    sent = [Signal(one.sequence, one.event_id, 1.0) for one in events]
    signals = Signals([Connection(0, 0.5, sent)])
    csv_path = tmp_path / "events.csv"
    csv_path.write_text(
        "sequence,event_id\n" + "".join(f"{s.sequence},{s.event_id}\n" for s in sent)
    )
    sound = account(part_ids, events, signals, csv_path, tmp_path)
    assert sound == Ledger(parts=3, signals=3)
    damage(events, signals)
    found = account(part_ids, events, signals, csv_path, tmp_path)
    assert getattr(found, field) >= 1
    assert not all(goal.reached for goal in found.goals("damaged"))


@pytest.mark.fast
def test_ledger_finds_torn_files(tmp_path: Path):
    """A line missing in the CSV file and a picture cut off are counted."""
    (tmp_path / "pictures" / "PASS").mkdir(parents=True)
    (tmp_path / "pictures" / "PASS" / "0000000001-main.png").write_bytes(b"\x89PNG\r\n")
    (tmp_path / "events.csv").write_text("sequence,event_id\n")
    found = account(["part-1"], [event(1)], Signals(), tmp_path / "events.csv", tmp_path)
    assert (found.csv_wrong, found.torn_pictures, found.silent) == (1, 1, 1)
