"""A part that a trigger announced has one event, whatever is killed between shutter and verdict."""

from contextlib import closing
from pathlib import Path
from threading import Event as Flag

import pytest

from inspection.core.decision import Verdict
from inspection.core.errors import SpoolFull
from inspection.station.clock import SYSTEM_CLOCK
from inspection.station.health import Health
from inspection.station.loop import IN_FLIGHT, Line
from inspection.station.part import Fault, Intake
from inspection.station.pictures import Pictures
from inspection.station.sources.cameras import CamerasSource
from inspection.station.sources.settings import CamerasSettings
from inspection.station.spool import Intent, Spool, SpoolReader
from tests.fakes import TableJudges
from tests.station.rig import WALL, Rig, configure, part
from tests.station.sources.files import next_part, running
from tests.station.sources.test_cameras import Free, Pulled, works

INTENT = Intent("id-a", "a", "default", WALL)


class Shutter(Free):
    """A camera that notes which parts were durable when it gave a frame."""

    def __init__(self, spool: Spool) -> None:
        super().__init__()
        self._spool = spool
        self.durable: list[tuple[str, ...]] = []

    def _next(self):
        with SpoolReader(self._spool.path.parent) as reader:
            rows = reader._database.execute("SELECT part_id FROM intents").fetchall()
        self.durable.append(tuple(name for (name,) in rows))
        return super()._next()


def triggered(camera: Free, pulled: Pulled, spool: Spool, note=None) -> CamerasSource:
    """Make a source of one camera whose triggers the test pulls."""
    settings = CamerasSettings.model_validate(
        {
            "kind": "cameras",
            "trigger": {"kind": "interval", "every_ms": 1},
            "cameras": {"main": {"address": "0", "stall_ms": 150}},
        }
    )
    return CamerasSource(
        settings,
        pulled,
        SYSTEM_CLOCK,
        lambda _camera, _every_frame: camera,
        record=spool.record_id,
        note=note or spool.note,
    )


def test_a_part_is_durable_before_its_frame_is_taken(tmp_path: Path):
    """The frame that judges it was asked for after its intent was on the disk."""
    with Spool(tmp_path) as spool:
        camera, pulled, intake = Shutter(spool), Pulled(), Intake(4)
        with running(triggered(camera, pulled, spool), intake):
            works(intake, camera)
            pulled.pull()
            found = next_part(intake)
        assert [one.part_id for one in spool.intents()] == ["part-1"]
        assert found.intents == (found.event_id,) == (spool.intents()[0].event_id,)
        assert ("part-1",) in camera.durable


def test_a_part_that_cannot_be_made_durable_is_not_photographed(tmp_path: Path):
    """It becomes FAULT; a verdict that could be lost is none."""

    def refuse(_intent: Intent) -> None:
        raise SpoolFull("the disk is full")

    with Spool(tmp_path) as spool:
        camera, pulled, intake = Free(), Pulled(), Intake(4)
        with running(triggered(camera, pulled, spool, refuse), intake):
            works(intake, camera)
            pulled.pull()
            (frame,) = next_part(intake).frames
    assert isinstance(frame.pixels, Fault)
    assert "was not photographed: the disk is full" in frame.pixels.reason


def test_what_was_in_flight_is_fault_after_a_restart(tmp_path: Path):
    """It is signalled first, once, and its intent is gone."""
    rig = Rig(configure(tmp_path))
    with Spool(rig.config.data_dir) as spool:
        spool.note(INTENT)
    rig.run([part("b", 51)])
    assert [(one.part_id, one.verdict) for one in rig.signalled] == [
        ("a", Verdict.FAULT),
        ("b", Verdict.PASS),
    ]
    first = rig.signalled[0]
    assert (first.event_id, first.captured_at) == ("id-a", WALL)
    assert first.reason.endswith(IN_FLIGHT)
    again = Rig(rig.config)
    again.run()
    assert again.signalled == []


def test_an_event_and_the_end_of_its_intent_are_one_transaction(tmp_path: Path):
    """A part that was judged is not FAULT after a restart."""
    rig = Rig(configure(tmp_path))
    with Spool(rig.config.data_dir) as spool:
        spool.note(INTENT)
        spool.note(INTENT._replace(event_id="id-b", part_id="b"))
    with Spool(rig.config.data_dir) as spool:
        event = rig_event(rig, spool)
        spool.append(event, intents=("id-a",))
        assert [one.event_id for one in spool.intents()] == ["id-b"]


def rig_event(rig: Rig, spool: Spool):
    """Make an event of part a, as the loop does."""
    other = Rig(configure(rig.config.data_dir / "elsewhere"))
    other.run([part("a", 51)])
    return other.signalled[0].model_copy(update={"sequence": spool.next_sequence})


def test_two_triggers_of_one_id_are_two_parts(tmp_path: Path):
    """A PLC may count 1, 0, 1: each trigger has its event."""
    rig = Rig(configure(tmp_path))
    with Spool(rig.config.data_dir) as spool:
        spool.note(INTENT)
        spool.note(INTENT._replace(event_id="id-b"))
    rig.run()
    assert sorted(one.event_id for one in rig.signalled) == ["id-a", "id-b"]


@pytest.mark.parametrize("frames", [1, 3])
def test_frames_of_one_part_in_flight_are_one_event(tmp_path: Path, frames: int):
    """A turntable that stopped after some frames has one FAULT for its part."""
    cameras = {"kind": "cameras", "cameras": {"main": {"address": "0"}}}
    rig = Rig(configure(tmp_path, source=cameras, frames={"count": 3, "wait_ms": 1000}))
    with Spool(rig.config.data_dir) as spool:
        for number in range(frames):
            spool.note(INTENT._replace(event_id=f"id-{number}"))
    rig.run()
    assert [(one.part_id, one.event_id) for one in rig.signalled] == [("a", "id-0")]
    with Spool(rig.config.data_dir) as spool:
        assert spool.intents() == ()


@pytest.mark.parametrize("frames", [1, 2])
def test_a_part_noted_while_the_station_begins_is_judged_and_not_recovered(
    tmp_path: Path, frames: int
):
    """The source runs before the loop turns; what it notes is no intent of an earlier process."""
    several = {"count": frames, "wait_ms": 1000} if frames > 1 else None
    cameras = {"kind": "cameras", "cameras": {"main": {"address": "0"}}}
    config, told = configure(tmp_path, source=cameras, frames=several), []
    with Spool(config.data_dir) as spool, closing(Pictures(tmp_path, 0, spool.count)) as pictures:
        health = Health(config, {}, [], SYSTEM_CLOCK)
        line = Line(config, TableJudges(), spool, pictures, health, told.append)
        intake = Intake(4)
        spool.note(INTENT)
        intake.put(part("whole", 51, part_id="a", intents=("id-a",)))
        line.run(intake, Flag(), lambda: True)
        assert spool.intents() == ()
    assert [(one.event_id, one.verdict) for one in told] == [("id-whole", Verdict.PASS)]


@pytest.mark.parametrize("written", [False, True], ids=["refused", "written all the same"])
def test_what_was_recovered_is_told_once_while_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bool
):
    """The second cannot be recorded at first, or is though the disk says no: each is told once."""
    rig = Rig(configure(tmp_path))
    with Spool(rig.config.data_dir) as spool:
        for name in ("a", "b", "c"):
            spool.note(Intent(f"id-{name}", name, "default", WALL))
    own, full = Spool.append, [True]

    def append(spool: Spool, event, *args, **kwargs):
        refused = event.part_id == "b" and full
        if not refused or written:
            own(spool, event, *args, **kwargs)
        if refused:
            full.pop()
            raise SpoolFull("the disk is full")

    monkeypatch.setattr(Spool, "append", append)
    rig.run([part("d", 51)])
    assert [one.part_id for one in rig.signalled] == ["a", "b", "c", "d"]
    with Spool(rig.config.data_dir) as spool:
        assert spool.intents() == ()
        assert spool.last_sequence() == 4
