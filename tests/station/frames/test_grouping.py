from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspection.station.frames.grouping import Grouping
from inspection.station.frames.settings import FramesSettings
from inspection.station.part import Fault, Part, Share, Stamp
from tests.station.rig import part

pytestmark = pytest.mark.fast


def grouping(**changes) -> Grouping:
    """Group three frames to a part, which waits a second."""
    return Grouping(FramesSettings(**({"count": 3, "wait_ms": 1_000} | changes)))


def shot(
    name: str, number: int | None = None, *, red: int = 40, last: bool = False, **changes
) -> Part:
    """Make one frame of a part, as a source hands it in."""
    values = {
        "event_id": f"{name}-{number}-{red}",
        "share": Share(number, last, "folder"),
        "arrived_s": 0.0,
        "stamps": ((f"{name}_{number}.png", Stamp(1, red, 1)),),
    }
    return part(name, red, **(values | changes))


def said(parts: list[Part]) -> list[tuple[str, list[int | None], str]]:
    """Give id, numbers of the frames and what is lacking of each part."""
    return [(one.part_id, [frame.number for frame in one.frames], one.lacking) for one in parts]


def add(group: Grouping, *shots: Part, at_s: float = 0.0) -> list[Part]:
    """Hand frames in and give all that can be judged."""
    return [one for each in shots for one in group.add(each, at_s)]


def test_part_is_whole_when_its_last_frame_is_there_in_any_order():
    """Frames stand in the order of their numbers; all their files are remembered with the event."""
    [whole] = add(grouping(), shot("a", 3), shot("a", 1), shot("a", 2, arrived_s=7.0))
    assert said([whole]) == [("a", [1, 2, 3], "")]
    assert (whole.wanted, whole.arrived_s, whole.share) == (3, 7.0, None)
    assert [name for name, _ in whole.stamps] == ["a_1.png", "a_2.png", "a_3.png"]


def test_frames_of_two_parts_do_not_mix():
    """Neither by id, nor by product, nor by folder."""
    group = grouping(count=2, open_parts=9)
    other = {"share": Share(2, of="elsewhere")}
    assert add(group, shot("a", 1), shot("b", 2), shot("a", 2, product="x")) == []
    assert add(group, replace(shot("a", 2, red=50), **other)) == []
    assert said(add(group, shot("a", 2))) == [("a", [1, 2], "")]


def test_part_that_waited_long_enough_is_judged_by_what_is_there():
    """And says what is missing; the deadline counts from then."""
    group = grouping()
    add(group, shot("a", 1), shot("a", 3), at_s=5.0)
    assert group.due(5.9) == []
    [short] = group.due(6.0)
    assert said([short]) == [
        ("a", [1, 3], "frames 2 of 3; 2 missing: they did not come within 1000 ms")
    ]
    assert short.arrived_s == 6.0
    assert group.due(99.0) == []


def test_late_frame_is_told_apart_and_keeps_its_parts_identity():
    """It is not judged, nor does it wait as a part of its own."""
    group = grouping()
    add(group, shot("a", 1), shot("a", 3))
    [short] = group.due(1.0)
    [late] = add(group, shot("a", 2), at_s=2.0)
    assert late.event_id == short.event_id
    assert "frame 2 came after the verdict" in late.late
    assert late.frames[0].number == 2
    [again] = add(group, shot("a", 2), at_s=3.0)  # a client asks again
    assert (again.event_id, again.late) == (short.event_id, "")


def test_frame_handed_in_again_is_the_same_frame():
    """While its part waits, and after: its sender is answered with the part's event."""
    group, answered = grouping(count=2), []
    first = shot("a", 1, answer=answered.append)
    assert add(group, first, first) == []
    assert group.holds(first.event_id)
    [whole] = add(group, shot("a", 2, answer=answered.append))
    whole.answer("event")
    assert answered == ["event"] * 3
    assert not group.holds(first.event_id)
    [again] = add(group, first)
    assert (again.event_id, again.late) == (whole.event_id, "")


def test_number_that_comes_twice_with_other_bytes_begins_the_part_anew():
    """So that frames of two rounds are never judged as one; the first round is never PASS."""
    group = grouping(count=2)
    [before] = add(group, shot("a", 1), shot("a", 1, red=50))
    assert said([before]) == [
        (
            "a",
            [1],
            "frames 1 of 2; frame 1 came again with another picture, which begins the part anew",
        )
    ]
    [after] = add(group, shot("a", 2, red=50))
    assert said([after]) == [("a", [1, 2], "")]
    assert after.event_id != before.event_id
    [again] = add(group, shot("a", 1, red=60), shot("a", 2, red=60))  # the same id, another day
    assert again.event_id not in {before.event_id, after.event_id}


@pytest.mark.parametrize(("first", "number", "wanted"), [(1, 0, "1 to 3"), (0, 3, "0 to 2")])
def test_number_out_of_range_is_its_frames_fault(first: int, number: int, wanted: str):
    """It is part of no part that may pass."""
    group = grouping(first=first)
    add(group, shot("a", first), shot("a", number))
    [short] = group.due(1.0)
    [stray] = [frame for frame in short.frames if frame.number == number]
    assert isinstance(stray.pixels, Fault)
    assert wanted in stray.pixels.reason
    assert short.lacking


def test_as_many_frames_with_a_wrong_number_are_not_a_whole_part():
    """They do not wait in vain, either."""
    [short] = add(grouping(), shot("a", 1), shot("a", 2), shot("a", 4))
    assert short.lacking == "frames 3 of 3; 3 missing: others came instead"


def test_next_part_ends_the_one_before():
    """However many frames it had, if none between is missing."""
    group = grouping(ends="next", count=9)
    assert add(group, shot("a", 1), shot("a", 2)) == []
    assert said(add(group, shot("b", 1))) == [("a", [1, 2], "")]
    add(group, shot("b", 3))
    [gap] = add(group, shot("c", 1))
    assert gap.lacking == "frames 2 of an unknown number; 2 missing: the next part came"
    [last] = group.due(1.0)
    assert last.lacking == "frames 1 of an unknown number; no next part came within 1000 ms"


def test_most_frames_end_a_part_too():
    """A part of as many frames as a part may have waits for no next one."""
    assert said(add(grouping(ends="next"), *(shot("a", n) for n in (1, 2, 3)))) == [
        ("a", [1, 2, 3], "")
    ]


def test_marked_frame_ends_a_part_once_those_before_it_are_there():
    """They may come in another order."""
    group = grouping(ends="marker", count=9)
    assert add(group, shot("a", 1), shot("a", 3, last=True)) == []
    assert said(add(group, shot("a", 2))) == [("a", [1, 2, 3], "")]
    add(group, shot("b", 1))
    [short] = group.due(1.0)
    assert short.lacking == "frames 1 of an unknown number; no last frame came within 1000 ms"
    add(group, shot("c", 2, last=True), shot("c", 4), at_s=5.0)
    [beyond] = group.due(6.0)
    assert beyond.lacking.startswith("frames 2 of 2; 1 missing")
    full = add(grouping(ends="marker"), *(shot("a", n) for n in (1, 2, 3)))
    assert full[0].lacking == "frames 3 of an unknown number; none of them is marked as the last"


def test_frames_without_numbers_are_counted():
    """As those of a PLC's triggers are."""
    group = grouping()
    shots = [shot("a", None, red=red) for red in (1, 2, 3)]
    assert said(add(group, *shots)) == [("a", [1, 2, 3], "")]
    add(group, shot("b", None, red=4))
    [short] = group.due(1.0)
    [late] = add(group, shot("b", None, red=5))
    assert (late.event_id, late.frames[0].number) == (short.event_id, 2)


def test_a_part_that_comes_once_more_is_judged_once_more():
    """After a round that lacked a trigger: its frames are no late ones, or a PLC would wait."""
    group = grouping()
    add(group, shot("a", None, red=1), shot("a", None, red=2))
    [short] = group.due(1.0)
    again = [shot("a", None, red=red) for red in (3, 4, 5)]
    due = [one for frame in again for one in group.add(frame, 3.0)]
    assert said(due) == [("a", [1, 2, 3], "")]
    assert due[0].event_id != short.event_id


def test_parts_that_wait_are_bounded():
    """The oldest of more is judged by what is there."""
    group = grouping(open_parts=2)
    due = add(group, shot("a", 1), shot("b", 1), shot("c", 1))
    assert said(due) == [("a", [1], "frames 1 of 3; more than 2 parts waited for frames at once")]


def test_end_leaves_files_for_the_next_process_and_judges_the_rest():
    """What is only in memory would be lost."""
    group = grouping()
    add(group, shot("file", 1), shot("push", 1, stamps=()))
    assert said(group.end(0.0, stopped=True)) == [
        ("push", [1], "frames 1 of 3; the station was stopped")
    ]
    assert said(group.end(0.0, stopped=False)) == [
        ("file", [1], "frames 1 of 3; no more frames come")
    ]


def test_number_beyond_all_measure_ends_in_time():
    """Whoever names files so makes a FAULT, no endless loop."""
    for ends in ("count", "next", "marker"):
        group = grouping(ends=ends)
        due = add(group, shot("a", 10**18, last=True), shot("b", 1))
        due += group.due(1.0)
        [short] = [one for one in due if one.part_id == "a"]
        assert short.lacking
        assert isinstance(short.frames[0].pixels, Fault)


def test_file_that_waited_at_the_start_has_no_late_deadline():
    """Its part's deadline counts from the loop's turn."""
    [whole] = add(grouping(count=2), shot("a", 1, arrived_s=None), shot("a", 2, arrived_s=3.0))
    assert whole.arrived_s is None


def test_whole_part_of_one_frame_passes_through():
    """A file whose name does not fit is a part of its own, and its FAULT."""
    one = part("stranger", Fault("no name"))
    assert grouping().add(one, 0.0) == [one]


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 4), st.integers(0, 1), st.booleans()),
        max_size=30,
    ),
    st.sampled_from(["count", "next", "marker"]),
)
def test_no_frame_is_lost_and_no_short_part_is_whole(shots, ends):
    """Whatever comes in whatever order: each frame stands in what is handed on."""
    group, out = grouping(ends=ends, open_parts=1), []
    for step, (name, number, red, last) in enumerate(shots):
        out += group.add(shot(name, number, red=red, last=last), step / 2)
        out += group.due(step / 2)
    out += group.end(99.0, stopped=False)
    handed_in = {(f"{name}_{number}.png", red) for name, number, red, _ in shots}
    assert {(name, stamp.mtime_ns) for one in out for name, stamp in one.stamps} == handed_in
    for one in out:
        numbers = [frame.number for frame in one.frames]
        whole = not one.lacking and not one.late and one.wanted is not None
        assert not whole or numbers == list(range(1, one.wanted + 1))
