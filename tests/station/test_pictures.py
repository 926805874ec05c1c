import os
from pathlib import Path
from threading import Event as Flag

import pytest

from inspection.core.decision import Verdict
from inspection.core.records import FrameRecord
from inspection.station import loop
from inspection.station.pictures import WAITING, Picture, Pictures
from inspection.station.settings import MB
from inspection.station.spool import Spool
from tests.fakes import TableJudges, TableScorer
from tests.station.events import event
from tests.station.rig import Rig, configure, part
from tests.station.sources.files import eventually

pytestmark = pytest.mark.fast


def pictured(number: int, verdict: Verdict = Verdict.PASS):
    """Make an event that names one picture."""
    plain = event(number, verdict)
    frame = FrameRecord.model_validate(plain.frames[0].model_dump() | {"image": f"{number:03}.png"})
    return plain.model_copy(update={"frames": (frame,)})


class Keeper:
    """Pictures of 1,000 bytes each, within a budget."""

    def __init__(self, folder: Path, budget: int) -> None:
        self.dropped: list[str] = []
        self.pictures = Pictures(folder, budget, self.dropped.append)

    def keep(self, number: int, verdict: Verdict = Verdict.PASS) -> None:
        """Hand one picture in."""
        picture = Picture(f"{number:03}.png", lambda: bytes(1_000))
        self.pictures.hand_in(pictured(number, verdict), (picture,))


def names(folder: Path) -> list[str]:
    """Give what is kept, as VERDICT/name."""
    kept = folder / "pictures"
    return sorted(path.relative_to(kept).as_posix() for path in kept.rglob("*.*"))


def test_least_interesting_goes_first_and_is_counted(tmp_path: Path):
    """PASS before FAULT before REJECT before REVIEW, and of each the oldest."""
    keeper = Keeper(tmp_path, 3_000)
    order = [Verdict.REVIEW, Verdict.PASS, Verdict.REJECT, Verdict.FAULT, Verdict.REVIEW]
    for number, verdict in enumerate(order, 1):
        keeper.keep(number, verdict)
    keeper.pictures.close()
    assert names(tmp_path) == ["REJECT/003.png", "REVIEW/001.png", "REVIEW/005.png"]
    assert keeper.dropped == ["pictures of PASS", "pictures of FAULT"]
    assert keeper.pictures.kept_bytes == 3_000


def test_record_comes_before_pictures(tmp_path: Path):
    """What the event database takes is not there for pictures."""
    keeper = Keeper(tmp_path, 3_000)
    keeper.pictures.leave_room(2_500)
    keeper.keep(1)
    keeper.pictures.close()
    assert names(tmp_path) == []
    assert keeper.dropped == ["pictures of PASS"]


def test_pictures_go_without_a_new_one(tmp_path: Path):
    """A record that grows, or a budget that was lowered, is reason enough; REVIEW goes last."""
    keeper = Keeper(tmp_path, 3_000)
    for number, verdict in enumerate([Verdict.PASS, Verdict.REVIEW, Verdict.REJECT], 1):
        keeper.keep(number, verdict)
    keeper.pictures.leave_room(500)
    eventually(lambda: names(tmp_path) == ["REJECT/003.png", "REVIEW/002.png"])
    keeper.pictures.close()
    lower = Keeper(tmp_path, 1_000)
    eventually(lambda: names(tmp_path) == ["REVIEW/002.png"])
    assert not lower.pictures.spent
    lower.pictures.leave_room(1)
    lower.pictures.close()
    assert lower.pictures.spent
    assert keeper.dropped + lower.dropped == [f"pictures of {v}" for v in ("PASS", "REJECT")] + [
        "pictures of REVIEW"
    ]


def test_picture_without_room_is_not_made(tmp_path: Path):
    """While the record alone fills the budget none is kept for a moment: events may have to go."""
    keeper, made = Keeper(tmp_path, 1_000), []
    keeper.pictures.leave_room(1_000)
    keeper.pictures.hand_in(pictured(1), (Picture("001.png", lambda: bytes(len(made) or 9)),))
    keeper.pictures.hand_in(pictured(2), (Picture("002.png", lambda: made.append(2) or b""),))
    keeper.pictures.close()
    assert (names(tmp_path), made, keeper.dropped) == ([], [], ["pictures of PASS"] * 2)


def test_nobody_waits_for_the_disk_to_leave_room(tmp_path: Path):
    """The loop says how large the record is while a picture takes its time."""
    keeper, begun, hold = Keeper(tmp_path, 1_500), Flag(), Flag()

    def make() -> bytes:
        begun.set()
        assert hold.wait(10), "the loop waited for the picture"
        return bytes(1_000)

    keeper.pictures.hand_in(pictured(1), (Picture("001.png", make),))
    assert begun.wait(10)
    keeper.pictures.leave_room(1_000)
    hold.set()
    keeper.pictures.close()
    assert names(tmp_path) == []


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch):
    """Let the loop's record claim a size, and note what pictures lie there when events go."""

    class Large(Spool):
        claimed = 0
        forgets: list[list[str]] = []  # noqa: RUF012 - one class per test

        def used_bytes(self) -> int:
            return self.claimed

        def forget(self, destinations: tuple[str, ...], most: int) -> int:
            self.forgets.append(names(self.path.parent))
            return super().forget(destinations, most)

    monkeypatch.setattr(loop, "LOOK_AROUND_S", 0)
    monkeypatch.setattr(loop, "HURRY_S", 0)
    monkeypatch.setattr("tests.station.rig.Spool", Large)
    return Large


def station_with_pictures(folder: Path) -> Rig:
    """Make a station of 16 MB with fifteen pictures of 1 MB, whose parts take 2 ms each."""
    config = configure(folder, spool={"budget_mb": 16}, guards={"frozen": "off"})
    pictures = config.data_dir / "pictures" / "REVIEW"
    pictures.mkdir(parents=True)
    for number in range(15):
        path = pictures / f"{number:010}-main.png"
        path.touch()
        os.truncate(path, MB)
    return Rig(config, TableJudges(default={"main": TableScorer(takes_s=0.002)}))


def test_record_that_grows_takes_pictures_not_events(tmp_path: Path, large: type):
    """Parts that leave no picture make pictures go all the same, the oldest first."""
    large.claimed = 10 * MB
    rig = station_with_pictures(tmp_path)
    rig.run([part(str(number), 7) for number in range(20)])
    assert names(rig.config.data_dir) == [f"REVIEW/{n:010}-main.png" for n in range(9, 15)]
    assert large.forgets == []


def test_events_go_when_no_picture_is_left(tmp_path: Path, large: type):
    """A record beyond the budget costs every picture before it costs one event."""
    large.claimed = 17 * MB
    rig = station_with_pictures(tmp_path)
    rig.run([part(str(number), 7) for number in range(50)])
    assert large.forgets
    assert not any(large.forgets)


def test_budget_counts_what_earlier_runs_kept(tmp_path: Path):
    """A new process knows what is there, and sweeps up what a killed one left half-written."""
    first = Keeper(tmp_path, 2_000)
    first.keep(1)
    first.keep(2)
    first.pictures.close()
    (tmp_path / "pictures" / "PASS" / ".003.png.partial").write_bytes(b"half")
    second = Keeper(tmp_path, 2_000)
    assert second.pictures.kept_bytes == 2_000
    second.keep(4)
    second.pictures.close()
    assert names(tmp_path) == ["PASS/002.png", "PASS/004.png"]


def test_slow_disk_drops_pictures_and_never_waits(tmp_path: Path):
    """Beyond what may wait, pictures are dropped and counted; the loop goes on."""
    keeper, hold = Keeper(tmp_path, 10**6), Flag()
    keeper.pictures.hand_in(pictured(99), (Picture("099.png", lambda: bytes(hold.wait(10))),))
    for number in range(1, WAITING + 3):
        keeper.keep(number)
    hold.set()
    keeper.pictures.close()
    assert len(names(tmp_path)) == WAITING
    assert keeper.dropped == ["pictures of PASS"] * 3


def test_picture_that_cannot_be_made_is_counted(tmp_path: Path):
    """Whatever goes wrong with one picture, the next is kept."""
    keeper = Keeper(tmp_path, 10**6)

    def fail() -> bytes:
        raise MemoryError

    keeper.pictures.hand_in(pictured(1), (Picture("001.png", fail),))
    (tmp_path / "pictures").mkdir(exist_ok=True)
    (tmp_path / "pictures" / "FAULT").write_bytes(b"a file where a folder should be")
    keeper.keep(2, Verdict.FAULT)
    keeper.keep(3)
    keeper.pictures.close()
    assert (tmp_path / "pictures" / "PASS" / "003.png").is_file()
    assert keeper.dropped == ["pictures of PASS", "pictures of FAULT"]


def test_pictures_of_an_event_are_known_once_written(tmp_path: Path):
    """Until then nobody may take the event for one without pictures."""
    keeper, hold = Keeper(tmp_path, 10**6), Flag()
    pictures = keeper.pictures
    pictures.hand_in(pictured(1), (Picture("001.png", lambda: bytes(10 + hold.wait(10))),))
    assert pictures.of(pictured(1)) is None
    assert pictures.of(pictured(2)) == []
    hold.set()
    pictures.close()
    assert pictures.of(pictured(1)) == [tmp_path / "pictures" / "PASS" / "001.png"]


def test_trouble_with_the_disk_never_ends_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Pictures that cannot be deleted stay; later ones are kept, and none counts as unsettled."""
    keeper = Keeper(tmp_path, 500)

    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if not path.name.startswith("."):
            raise OSError(5, "Input/output error")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    keeper.keep(1)
    keeper.keep(2)
    keeper.pictures.close()
    assert names(tmp_path) == ["PASS/001.png", "PASS/002.png"]
    assert (keeper.pictures.kept_bytes, keeper.pictures.spent) == (2_000, True)
    assert keeper.pictures.of(pictured(1)) == [tmp_path / "pictures" / "PASS" / "001.png"]
