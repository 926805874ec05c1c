from pathlib import PurePosixPath

import pytest

from inspection.station.part import Stamp
from inspection.station.sources.gather import Gathered, Gatherer
from inspection.station.sources.scan import Found
from inspection.station.sources.settings import FolderSettings

pytestmark = pytest.mark.fast
PATTERN = r"(?P<product>[a-z]+)_(?P<part>\d+)_(?P<camera>left|right)(_.*)?"


def gatherer(pattern: str = PATTERN, together_ms: int = 1_000) -> Gatherer:
    """Gather parts of product `cap`, seen by left and right."""
    settings = FolderSettings(name_pattern=pattern, together_ms=together_ms)
    return Gatherer(settings, lambda product: ("left", "right") if product == "cap" else ())


def files(*sources: str, arrived_s: float | None = None) -> list[Found]:
    """Make files that were found in this order."""
    return [
        Found(name, f"/in/{name}", Stamp(1, at, 1), arrived_s) for at, name in enumerate(sources)
    ]


def shown(due: list[Gathered]) -> list[tuple[str, str, str]]:
    """Give part id, names of the pictures and missing cameras of each part."""
    return [
        (
            gathered.name.part_id,
            " ".join(PurePosixPath(found.source).stem for found in gathered.pictures.values()),
            " ".join(gathered.missing),
        )
        for gathered in due
    ]


def test_pictures_of_one_part_come_together_in_the_cameras_order():
    """Product, part and camera stand in the names; frames come in the recipe's order."""
    due = gatherer().due(files("cap_7_right.png", "cap_8_left.png", "cap_7_left.png"), (), 0)
    assert shown(due) == [("7", "cap_7_left cap_7_right", "")]
    assert due[0].name.product == "cap"


def test_missing_picture_is_waited_for_then_named():
    """A part waits together_ms for its other cameras, from when its first picture was whole."""
    waiting = gatherer()
    ready = files("cap_7_left.png")
    assert waiting.due(ready, (), 10) == []
    assert waiting.due(ready, (), 10.9) == []
    assert shown(waiting.due(ready, (), 11)) == [("7", "cap_7_left", "right")]


def test_picture_that_still_grows_is_waited_for():
    """A camera's file that is there but not whole yet is not missing."""
    waiting = gatherer()
    ready = files("cap_7_left.png")
    waiting.due(ready, (), 10)
    assert waiting.due(ready, ("cap_7_right.png",), 12) == []
    both = waiting.due(files("cap_7_left.png", "cap_7_right.png"), (), 12.2)
    assert shown(both) == [("7", "cap_7_left cap_7_right", "")]


def test_complete_parts_do_not_wait_for_incomplete_ones():
    """A part that lacks a picture holds nobody up."""
    due = gatherer().due(files("cap_7_left.png", "cap_8_left.png", "cap_8_right.png"), (), 0)
    assert shown(due) == [("8", "cap_8_left cap_8_right", "")]


def test_second_picture_of_a_camera_begins_the_part_anew():
    """Pictures of two rounds are never mixed: the older one goes on alone, as FAULT."""
    ready = files("cap_7_left.png", "cap_7_left_again.png", "cap_7_right_again.png")
    assert shown(gatherer().due(ready, (), 0)) == [
        ("7", "cap_7_left", "right"),
        ("7", "cap_7_left_again cap_7_right_again", ""),
    ]


def test_sub_folders_and_products_keep_parts_apart():
    """The same part id in another folder or of another product is another part."""
    ready = files("a/cap_7_left.png", "b/cap_7_right.png")
    waiting = gatherer(together_ms=1)
    waiting.due(ready, (), 0)
    assert shown(waiting.due(ready, (), 1)) == [
        ("7", "cap_7_left", "right"),
        ("7", "cap_7_right", "left"),
    ]


def test_unknown_product_goes_on_as_it_is():
    """Of a product without recipe nobody knows the cameras; nothing waits, nothing is left out."""
    assert shown(gatherer().due(files("lid_7_left.png"), (), 0)) == [("7", "lid_7_left", "")]


def test_strange_names_are_parts_of_their_own():
    """A name that does not fit is no reason to pass a file over, nor to wait for others."""
    due = gatherer().due(files("x/what.png", "y/what.png"), (), 0)
    assert [(gathered.name.part_id, gathered.name.stranger) for gathered in due] == [
        ("what", "x/what.png"),
        ("what", "y/what.png"),
    ]


def test_picture_of_a_camera_nobody_expects_is_kept():
    """A camera that is not the recipe's goes on as a frame of its part, after the others."""
    pattern = r"(?P<product>[a-z]+)_(?P<part>\d+)_(?P<camera>[a-z]+)"
    ready = files("cap_7_above.png", "cap_7_right.png", "cap_7_left.png")
    due = gatherer(pattern).due(ready, (), 0)
    assert shown(due) == [("7", "cap_7_left cap_7_right cap_7_above", "")]


def test_parts_with_a_running_deadline_come_first():
    """Files that lay there at the start wait for those that arrive now."""
    ready = files("lid_1_left.png") + files("lid_2_left.png", arrived_s=5)
    assert [part_id for part_id, _, _ in shown(gatherer().due(ready, (), 9))] == ["2", "1"]
