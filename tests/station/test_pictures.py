from pathlib import Path
from threading import Event as Flag

import pytest

from inspection.core.decision import Verdict
from inspection.core.records import FrameRecord
from inspection.station.pictures import WAITING, Picture, Pictures
from tests.station.events import event

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
    return sorted(path.relative_to(folder / "pictures").as_posix() for path in folder.rglob("*.*"))


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
    keeper.pictures.record_bytes = 2_500
    keeper.keep(1)
    keeper.pictures.close()
    assert names(tmp_path) == []
    assert keeper.dropped == ["pictures of PASS"]


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

    def refuse(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "unlink", refuse)
    keeper.keep(1)
    keeper.keep(2)
    keeper.pictures.close()
    assert names(tmp_path) == ["PASS/001.png", "PASS/002.png"]
    assert keeper.pictures.of(pictured(1)) == [tmp_path / "pictures" / "PASS" / "001.png"]
