"""Sets of reviewed parts: counts, near duplicates, and exports that other tools read."""

import io
import json
import re
from zipfile import ZipFile

import cv2
import numpy as np
import pytest

from inspection.core.geometry import Roi
from inspection.core.parts import load_part_mask
from inspection.core.records import Label
from inspection.data.check import check_dataset
from inspection.hub.asking import Refused
from inspection.hub.datasets import list_sets
from inspection.hub.exports import export_set
from inspection.hub.hub import Hub
from inspection.hub.reviews import decide
from inspection.hub.wire.people import Me, Role
from inspection.hub.wire.review import Decision, NewReview
from tests.hub.parts import add_picture, contradict, draw_mask, part, store

ANN = Me(account="ann", role=Role.REVIEWER)
GOOD, DEFECT, UNSURE = Decision.GOOD, Decision.DEFECT, Decision.UNSURE


def say(hub: Hub, number: int, decision: Decision, defect: str | None = None) -> None:
    new = NewReview(decision=decision, defect=defect, revision=0)
    decide(hub, f"part-{number}", new, ANN)


def reviewed(hub: Hub) -> None:
    """Review parts: 1 and 2 good, 3 to 5 defects of which 5 has no mask, 6 unsure; 7 waits."""
    store(hub, *(part(number, 1.5) for number in range(1, 8)))
    for number in range(1, 7):
        add_picture(hub, number)
    for number, decision, defect in (
        (1, GOOD, None),
        (2, GOOD, None),
        (3, DEFECT, "scratch"),
        (4, DEFECT, None),
        (5, DEFECT, "stain"),
        (6, UNSURE, None),
    ):
        say(hub, number, decision, defect)
    draw_mask(hub, 3)
    draw_mask(hub, 4)


def opened(hub: Hub, layout: str) -> ZipFile:
    with export_set(hub, "line-1", "plate", layout) as archive:
        return ZipFile(io.BytesIO(archive.read()))


def report(archive: ZipFile) -> dict[str, object]:
    return json.loads(archive.read("export.json"))


def test_sets_are_counted_by_line_and_product(hub):
    reviewed(hub)
    store(hub, part(8, 0.5).model_copy(update={"product": "lid"}))
    lid, one = list_sets(hub)
    assert (lid.product, lid.parts, lid.reviewed) == ("lid", 1, 0)
    assert (one.line, one.product, one.parts, one.reviewed) == ("line-1", "plate", 7, 6)
    assert (one.with_picture, one.goods, one.unsure, one.masks) == (6, 2, 1, 2)
    assert one.defects == {"scratch": 1, "stain": 1, "unnamed": 1}


def test_an_exported_data_set_is_one_that_check_reads(hub, tmp_path):
    reviewed(hub)
    with opened(hub, "mvtec") as archive:
        archive.extractall(tmp_path / "set")
        assert report(archive)["left_out"] == {"defect without a mask": 1}
        assert report(archive)["defects"] == {"scratch": 1, "defect": 1}
    found = check_dataset(tmp_path / "set").manifest
    goods = [one for one in found.entries if one.label is Label.GOOD]
    kinds = {one.defect: one.mask for one in found.entries if one.label is Label.DEFECT}
    assert len(goods) == 2
    assert sorted(kinds) == ["defect", "scratch"]
    mask = cv2.imread(str(tmp_path / "set" / kinds["scratch"]), cv2.IMREAD_GRAYSCALE)
    assert np.count_nonzero(mask) == 10 * 20


def test_where_no_defect_has_a_mask_all_are_exported(sqlite_hub, tmp_path):
    store(sqlite_hub, part(1, 1.5), part(2, 4.0))
    for number, decision, defect in ((1, GOOD, None), (2, DEFECT, "scratch")):
        add_picture(sqlite_hub, number)
        say(sqlite_hub, number, decision, defect)
    draw_mask(sqlite_hub, 2, empty=True)
    with opened(sqlite_hub, "mvtec") as archive:
        archive.extractall(tmp_path)
        assert (report(archive)["defects"], report(archive)["left_out"]) == ({"scratch": 1}, {})
    entries = check_dataset(tmp_path).manifest.entries
    assert {(one.defect, one.mask) for one in entries} == {("scratch", None), (None, None)}


def test_coco_holds_masks_and_the_very_pictures(sqlite_hub):
    reviewed(sqlite_hub)
    with opened(sqlite_hub, "coco") as archive:
        coco = json.loads(archive.read("annotations.json"))
        names = {image["file_name"] for image in coco["images"]}
        assert {f"pictures/{name}" for name in names} == {
            name for name in archive.namelist() if name.startswith("pictures/")
        }
        assert report(archive)["left_out"] == {"defect without a mask": 1}
    kinds = {kind["id"]: kind["name"] for kind in coco["categories"]}
    drawn = {kinds[one["category_id"]]: one for one in coco["annotations"]}
    assert sorted(drawn) == ["defect", "scratch"]
    assert (drawn["scratch"]["area"], drawn["scratch"]["bbox"]) == (200, [30, 20, 20, 10])
    assert drawn["scratch"]["attributes"]["author"] == "ann"
    assert len(names) == 4


def test_what_cannot_be_labelled_is_left_out_and_counted(sqlite_hub):
    store(sqlite_hub, *(part(number, 1.5) for number in range(1, 6)))
    for number in (1, 2, 3):
        add_picture(sqlite_hub, number)
    add_picture(sqlite_hub, 4, seed=3)
    for number in range(1, 6):
        say(sqlite_hub, number, GOOD)
    draw_mask(sqlite_hub, 2)
    with opened(sqlite_hub, "mvtec") as archive:
        assert report(archive)["left_out"] == {
            "picture is not here": 1,
            "same picture as a part decided later": 1,
            "good, but a defect is drawn on it": 1,
        }
        assert report(archive)["good"] == 2


def test_a_data_set_shows_what_was_judged_of_a_frame(sqlite_hub, tmp_path):
    """So a bundle trained on it judges what stations cut out; COCO has the very pictures."""
    for number, decision in ((1, GOOD), (2, DEFECT)):
        event = part(number, 1.5)
        frames = tuple(one.model_copy(update={"roi": Roi(left=0.5)}) for one in event.frames)
        store(sqlite_hub, event.model_copy(update={"frames": frames}))
        add_picture(sqlite_hub, number)
        say(sqlite_hub, number, decision, "dent" if decision is DEFECT else None)
    for name, drawn in (("bare", 0), ("drawn", 10 * 10)):
        with opened(sqlite_hub, "mvtec") as archive:
            archive.extractall(tmp_path / name)
        manifest = check_dataset(tmp_path / name).manifest
        assert {(one.height_px, one.width_px) for one in manifest.entries} == {(64, 40)}
        masks = [load_part_mask(manifest, one) for one in manifest.entries]
        assert sum(int(mask.sum()) for mask in masks if mask is not None) == drawn
        if not drawn:
            draw_mask(sqlite_hub, 2)


def test_what_two_people_see_differently_is_in_no_set(hub):
    store(hub, part(1, 1.5), part(2, 1.5))
    for number in (1, 2):
        add_picture(hub, number)
        say(hub, number, GOOD)
    contradict(hub, 2, DEFECT)
    with opened(hub, "mvtec") as archive:
        said = report(archive)
    assert (said["good"], said["left_out"]) == (1, {"another person says otherwise": 1})


def test_a_mask_on_another_camera_exports_that_cameras_picture(sqlite_hub):
    store(sqlite_hub, part(1, 4.0, "top", "side"))
    add_picture(sqlite_hub, 1)
    side = add_picture(sqlite_hub, 1, "side", seed=9)
    draw_mask(sqlite_hub, 1, "side")
    say(sqlite_hub, 1, DEFECT, "scratch")
    with opened(sqlite_hub, "coco") as archive:
        (name,) = [name for name in archive.namelist() if name.startswith("pictures/")]
        assert archive.read(name) == side


def test_an_odd_event_id_gives_a_plain_name(sqlite_hub):
    store(sqlite_hub, part(1, 1.5, event_id="..part 1 é"))
    add_picture(sqlite_hub, 1, event_id="..part 1 é")
    decide(sqlite_hub, "..part 1 é", NewReview(decision=GOOD, revision=0), ANN)
    with opened(sqlite_hub, "mvtec") as archive:
        assert any(
            re.fullmatch(r"train/good/__part_1__-[0-9a-f]{12}\.png", name)
            for name in archive.namelist()
        )


def test_near_duplicates_are_found_among_reviewed_pictures(sqlite_plant):
    hub = sqlite_plant.hub
    store(hub, *(part(number, 1.5) for number in range(1, 6)))
    for number in (1, 2, 3, 5):
        add_picture(hub, number)
    add_picture(hub, 4, seed=2)
    for number in (1, 2, 3, 4):
        say(hub, number, GOOD)
    found = sqlite_plant.person(Role.VIEWER).near_duplicates("line-1", "plate")
    ((first, second, correlation),) = found.pairs
    assert {first, second} == {"part-2", "part-4"}
    assert correlation == pytest.approx(1.0, abs=1e-5)
    assert found.compared == 4
    assert found.note == "the newest 4 of 4 reviewed pictures were compared"


def test_an_export_comes_over_the_wire_whole(sqlite_plant):
    reviewed(sqlite_plant.hub)
    content = sqlite_plant.person(Role.REVIEWER).export("line-1", "plate", "mvtec")
    with ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert report(archive)["good"] == 2
    assert sqlite_plant.person(Role.VIEWER).datasets()[0].reviewed == 6


@pytest.mark.parametrize(
    ("role", "product", "layout", "status"),
    [
        (Role.REVIEWER, "other", "mvtec", 404),
        (Role.REVIEWER, "plate", "voc", 422),
        (Role.VIEWER, "plate", "mvtec", 403),
    ],
)
def test_an_export_that_cannot_be_is_refused(sqlite_plant, role, product, layout, status):
    with pytest.raises(Refused) as refusal:
        sqlite_plant.person(role).export("line-1", product, layout)
    assert refusal.value.status == status
