"""Frames that never came, by table: gaps, numbers that wrap or begin anew, cameras without any."""

import pytest

from inspection.station.sources.lost import MOST_LOST, LostFrames

pytestmark = pytest.mark.fast
NOBODY_KNOWS = None
INCOMPLETE = None


def missing(numbers: list[int | None], *, numbers_tell: bool = True) -> list[int | None]:
    """Count what is missing before each frame of a stream of four buffers."""
    lost = LostFrames("cam", 4, numbers_tell=numbers_tell)
    return [lost.before(number) for number in numbers]


STREAMS = {
    "nothing lost": ([7, 8, 9], [0, 0, 0]),
    "a gap": ([1, 2, 6, 7], [0, 0, 3, 0]),
    "16 bits wrap to 1": ([65_534, 65_535, 1, 2], [0, 0, 0, 0]),
    "16 bits wrap to 0": ([65_534, 65_535, 0, 1], [0, 0, 0, 0]),
    "lost while they wrap": ([65_533, 3], [0, 4]),
    "64 bits go on": ([65_535, 65_536, 65_539], [0, 0, 2]),
    "the first of USB3 Vision is 0": ([0, 1, 3], [0, 0, 1]),
    "an incomplete frame came": ([1, INCOMPLETE, 3], [0, 0, 0]),
    "lost beside an incomplete frame": ([1, INCOMPLETE, 5], [0, 0, 2]),
    "incomplete from the start": ([INCOMPLETE, 900, 901], [0, 0, 0]),
    "as many as are parts": ([1, MOST_LOST + 2], [0, MOST_LOST]),
    "an outage": ([1, MOST_LOST + 3], [0, NOBODY_KNOWS]),
    "the camera was reset": ([500, 501, 1], [0, 0, NOBODY_KNOWS]),
    "a reset beyond 16 bits": ([70_000, 1], [0, NOBODY_KNOWS]),
    "the same number twice": ([5, 5], [0, NOBODY_KNOWS]),
    "more came than were made": ([1, INCOMPLETE, 2], [0, 0, NOBODY_KNOWS]),
    "never numbered": ([0, 0, 0], [0, 0, 0]),
}


@pytest.mark.parametrize("stream", STREAMS)
def test_gaps_in_the_numbers_are_losses(stream: str):
    """Each missing number is one frame; numbers that cannot go on are told as unknown."""
    numbers, wanted = STREAMS[stream]
    assert missing(numbers) == wanted


@pytest.mark.parametrize(
    ("numbers", "numbers_tell", "wanted"),
    [
        ([0, 0, 0, 0, 0], False, [0, 0, 0, 0, NOBODY_KNOWS]),
        ([0, 0, 0, 0, 0], True, [0, 0, 0, 0, NOBODY_KNOWS]),
        ([1, 2, 3, 4, 5], False, [0, 0, 0, 0, NOBODY_KNOWS]),
        ([1, 2, 3, 4, 5], True, [0, 0, 0, 0, 0]),
        ([1, 2, 3, 4, 7, 8], False, [0, 0, 0, 0, 2, 0]),
        ([1, 2, INCOMPLETE, 4, INCOMPLETE, 6], False, [0, 0, 0, 0, 0, NOBODY_KNOWS]),
    ],
    ids=[
        "no numbers",
        "no numbers where they are due",
        "numbers hide it",
        "numbers are right",
        "a gap follows",
        "the frame after it is incomplete",
    ],
)
def test_shortage_of_buffers_is_a_loss_where_the_numbers_hide_it(
    numbers: list[int], numbers_tell: bool, wanted: list[int | None]
):
    """The frames that filled the buffers were made before; the next follows the loss."""
    lost = LostFrames("cam", 4, numbers_tell=numbers_tell)
    found = [lost.before(numbers[0])]
    lost.note_shortages(9)
    for number in numbers[1:]:
        found.append(lost.before(number))
        lost.note_shortages(9)
    assert found == wanted


def test_losses_are_logged(caplog: pytest.LogCaptureFixture):
    """Each gap is a line; that a camera has no numbers is told once."""
    assert missing([1, 4, 5, 7]) == [0, 2, 0, 1]
    assert missing([0, 0, 0, 0]) == [0] * 4
    told = [(line.message, getattr(line, "lost", None)) for line in caplog.records]
    assert told == [
        ("frames lost", 2),
        ("frames lost", 1),
        ("camera numbers no frames", None),
    ]
