"""Labels: read from data sets, corrections and COCO files; what is wrong with them is named."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inspection.core.errors import DatasetError
from inspection.core.imaging import load_mask
from inspection.data.findings import Kind
from inspection.recognition.checking import gather, report_labels, require_sound
from inspection.recognition.labels import pack
from inspection.recognition.settings import LabelSettings, LabelSource
from inspection.review.corrections import Note, add_correction
from inspection.review.exports import export_corrections
from tests.command import inspection
from tests.recognition.parts import draw_set


def settings(*sources: Path | LabelSource, **more: Any) -> LabelSettings:
    found = tuple(
        one if isinstance(one, LabelSource) else LabelSource(path=str(one)) for one in sources
    )
    return LabelSettings(sources=found, **more)


def kinds(path: LabelSettings) -> list[Kind]:
    return [one.kind for one in gather(path).problems]


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    return draw_set(tmp_path / "set", 4)


def write_coco(folder: Path, *annotations: dict[str, Any], **more: Any) -> Path:
    """Write a COCO file of one picture with these annotations."""
    folder.mkdir(exist_ok=True)
    shades = np.random.default_rng(1).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    Image.fromarray(shades).save(folder / "a.png")
    file = {
        "info": {"contributor": "another tool"},
        "images": [{"id": 7, "file_name": "a.png", "width": 30, "height": 20, "coco_url": ""}],
        "annotations": [
            {"id": number, "image_id": 7, "category_id": 3, **one}
            for number, one in enumerate(annotations)
        ],
        "categories": [{"id": 3, "name": "pore", "supercategory": "none"}],
        **more,
    }
    path = folder / "labels.json"
    path.write_text(json.dumps(file))
    return path


def test_a_data_set_gives_a_defect_for_each_piece_of_a_mask(parts: Path):
    labels = require_sound(settings(parts))
    assert labels.types == ("hole", "scratch")
    assert len(labels.pictures) == 12
    one = next(one for one in labels.pictures if one.name == "test/hole/000.png")
    (defect,) = one.defects
    mask = load_mask(parts / "ground_truth/hole/000_mask.png")
    assert (defect.mask == mask).all()
    rows, columns = np.nonzero(mask)
    assert defect.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_a_part_is_on_one_side_whatever_is_added(parts: Path, tmp_path: Path):
    before = {one.name: one.side for one in gather(settings(parts)).pictures}
    assert set(before.values()) == {"train", "test"}
    draw_set(tmp_path / "more", 6, seed=5)
    both = gather(settings(parts, tmp_path / "more")).pictures
    after = {one.name: one.side for one in both if parts in one.path.parents}
    assert after == before


def test_pictures_of_one_shot_are_one_part(parts: Path):
    """A brighter copy would otherwise judge what it has taught."""
    original = np.asarray(Image.open(parts / "test/hole/001.png")).astype(int)
    copy = parts / "test/hole/999.png"
    Image.fromarray(np.clip(original + 6, 0, 255).astype(np.uint8)).save(copy)
    mask = (parts / "ground_truth/hole/001_mask.png").read_bytes()
    (parts / "ground_truth/hole/999_mask.png").write_bytes(mask)
    found = {one.name: one for one in require_sound(settings(parts)).pictures}
    pair = found["test/hole/001.png"], found["test/hole/999.png"]
    assert pair[0].group == pair[1].group
    assert pair[0].side == pair[1].side


def test_a_set_that_likeness_makes_one_part_is_named(parts: Path):
    """A quiet line's pictures chain together: nothing would be left to judge by."""
    pixels = np.asarray(Image.open(parts / "train/good/000.png")).copy()
    for number in range(6):
        pixels[number, number] = 255 - pixels[number, number]
        Image.fromarray(pixels).save(parts / f"train/good/alike-{number}.png")
    (note,) = (one for one in gather(settings(parts)).notes if one.kind is Kind.GROUP)
    assert "6 others of 18 pictures are so alike that they are taken for one part" in note.message
    named = settings(parts, group=r"(.+)\.png")
    assert not [one for one in gather(named).notes if one.kind is Kind.GROUP]


def test_a_group_that_is_no_expression_is_refused(parts: Path):
    with pytest.raises(ValueError, match="is no regular expression"):
        settings(parts, group="part_(")


def test_parts_by_name_that_teach_and_judge_are_named(parts: Path, tmp_path: Path):
    other = draw_set(tmp_path / "other", 2, seed=9)
    sources = (
        LabelSource(path=str(parts), side="train"),
        LabelSource(path=str(other), side="test"),
    )
    found = gather(settings(*sources, group=r"\d+"))
    told = [one.message for one in found.problems if one.kind is Kind.GROUP]
    assert len(told) == 2
    assert "part '000' teaches and judges" in told[0]


def test_the_same_shot_on_two_fixed_sides_is_named(parts: Path):
    sources = (
        LabelSource(path=str(parts), side="train"),
        LabelSource(path=str(parts), side="test"),
    )
    assert set(kinds(settings(*sources))) == {Kind.GROUP, Kind.SAME_BYTES}


def test_corrections_and_their_coco_export_say_the_same(parts: Path, tmp_path: Path):
    folder = tmp_path / "corrections"
    for number in range(3):
        for kind in ("hole", "scratch"):
            mask = load_mask(parts / f"ground_truth/{kind}/{number:03d}_mask.png")
            note = Note(author="Ada", when=datetime(2026, 1, 1, tzinfo=UTC), defect=kind)
            add_correction(folder, parts / f"test/{kind}/{number:03d}.png", mask, note)
    coco = tmp_path / "reviewed.json"
    export_corrections(folder, coco, None)
    exported = LabelSource(path=str(coco), pictures=str(folder / "pictures"))
    ours, theirs = gather(settings(folder)), gather(settings(exported))
    assert ours.types == theirs.types == ("hole", "scratch")
    for one, other in zip(ours.pictures, theirs.pictures, strict=True):
        assert (one.sha256, one.side) == (other.sha256, other.side)
        assert [defect.box for defect in one.defects] == [defect.box for defect in other.defects]
        assert (one.defects[0].mask == other.defects[0].mask).all()


def test_a_coco_file_of_another_tool_is_read(tmp_path: Path):
    square = [5, 5, 15, 5, 15, 12, 5, 12]
    path = write_coco(
        tmp_path / "coco",
        {"segmentation": [square], "bbox": [0, 0, 1, 1]},
        {"bbox": [20.5, 2, 6, 7.5]},
    )
    (picture,) = gather(settings(path)).pictures
    drawn, boxed = picture.defects
    assert drawn.box == (5, 5, 15, 12)  # a mask says more than the box beside it
    assert drawn.mask is not None
    assert drawn.mask.sum() == 70
    assert boxed.box == (20.5, 2, 26.5, 9.5)
    assert boxed.mask is None


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        ({"bbox": [3, 3, 0, 5]}, Kind.NO_AREA),
        ({"bbox": [3, 3, -4, 5]}, Kind.NO_AREA),
        ({}, Kind.NO_AREA),
        ({"bbox": [25, 3, 10, 5]}, Kind.BEYOND),
        ({"bbox": [3, 3, 4, 4], "category_id": 99}, Kind.UNKNOWN_TYPE),
        ({"bbox": [3, 3, 4, 4], "image_id": 99}, Kind.UNREAD),
        ({"segmentation": {"size": [9, 9], "counts": [81]}}, Kind.BAD_MASK),
        ({"segmentation": [["a"]], "bbox": [3, 3, 4, 4]}, Kind.BAD_MASK),
        ({"segmentation": [[3, 3, 3, 3, 3, 3]], "bbox": [3, 3, 4, 4]}, Kind.BAD_MASK),
    ],
)
def test_an_annotation_that_cannot_be_taken_is_named(
    annotation: dict[str, Any], kind: Kind, tmp_path: Path
):
    path = write_coco(tmp_path / "coco", {"bbox": [10, 10, 5, 5]}, annotation)
    assert kind in kinds(settings(path))


def test_each_form_of_a_coco_mask_says_the_same(tmp_path: Path):
    """Polygons, one polygon without its list, counts, and counts packed into text."""
    mask = np.zeros((20, 30), np.bool_)
    mask[5:12, 5:15] = True
    packed = pack(mask)
    square = [5, 5, 15, 5, 15, 12, 5, 12]
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[2], mask.T.ravel(), [2]]))))
    forms = (
        [square],
        square,
        {"size": [20, 30], "counts": runs.tolist()},
        {"size": [20, 30], "counts": packed["counts"].decode()},
    )
    path = write_coco(tmp_path / "coco", *({"segmentation": form} for form in forms))
    source = LabelSource(path=str(path), side="train")
    (picture,) = require_sound(settings(source)).pictures
    assert len(picture.defects) == 4
    for defect in picture.defects:
        assert (defect.mask == mask).all()


def test_a_picture_with_a_crowd_is_left_out(tmp_path: Path, parts: Path):
    """It shows defects, so it must not teach what a good part looks like."""
    crowd = {"bbox": [3, 3, 4, 4], "iscrowd": 1}
    path = write_coco(tmp_path / "coco", {"bbox": [10, 10, 5, 5]}, crowd)
    labels = gather(settings(path, parts))
    assert "a.png" not in {one.name for one in labels.pictures}
    assert any("is a crowd" in one.message for one in labels.notes)


def test_a_file_outside_of_the_pictures_is_not_read(tmp_path: Path, parts: Path):
    images = [{"id": 7, "file_name": "../set/test/hole/000.png", "width": 120, "height": 96}]
    path = write_coco(tmp_path / "coco", {"bbox": [1, 1, 5, 5]}, images=images)
    assert Kind.OUTSIDE in kinds(settings(path, parts))


def test_a_fixed_side_takes_what_is_of_its_part_along(parts: Path, tmp_path: Path):
    fixed = draw_set(tmp_path / "fixed", 2, seed=9)
    for side in ("train", "test"):
        sources = (LabelSource(path=str(parts)), LabelSource(path=str(fixed), side=side))
        labels = require_sound(settings(*sources, group=r"\d+"))
        assert {one.side for one in labels.pictures if one.group in {"000", "001"}} == {side}


def test_types_that_were_not_declared_are_named(parts: Path):
    found = gather(settings(parts, types=("hole",)))
    assert {one.kind for one in found.problems} == {Kind.UNKNOWN_TYPE}
    assert "shows 'scratch'; wanted one of hole" in found.problems[0].message


@pytest.mark.parametrize(
    "broken",
    ["{", "[]", '{"images": []}', '{"images": [], "annotations": [{"id": 1}], "categories": []}'],
)
def test_what_is_no_coco_file_is_refused(broken: str, tmp_path: Path):
    (tmp_path / "labels.json").write_text(broken)
    with pytest.raises(DatasetError, match="no COCO file of objects"):
        gather(settings(tmp_path / "labels.json"))


def test_what_holds_no_labels_is_refused(tmp_path: Path):
    with pytest.raises(DatasetError, match="no labels here; wanted a COCO file"):
        gather(settings(tmp_path))


def test_labels_of_other_sizes_and_missing_pictures_are_named(tmp_path: Path):
    images = [
        {"id": 7, "file_name": "a.png", "width": 31, "height": 20},
        {"id": 8, "file_name": "gone.png", "width": 30, "height": 20},
    ]
    path = write_coco(tmp_path / "coco", {"bbox": [1, 1, 5, 5]}, images=images)
    with pytest.raises(DatasetError, match="no defect is drawn"):
        gather(settings(path))
    good = draw_set(tmp_path / "set", 3)
    assert {Kind.MASK_SIZE, Kind.UNREADABLE} <= set(kinds(settings(path, good)))


def test_the_command_counts_and_ends_with_3_on_problems(parts: Path, tmp_path: Path):
    config = tmp_path / "recognise.yaml"
    config.write_text(f"labels: {{sources: [{{path: {parts}}}]}}\n")
    said = inspection("recognise", "check", str(config))
    assert said.code == 0
    assert "hole" in said.out
    assert said.out.rstrip().endswith("sound")
    config.write_text(f"labels: {{sources: [{{path: {parts}}}], types: [hole]}}\n")
    said = inspection("recognise", "check", str(config), "--json")
    assert said.code == 3
    assert json.loads(said.out)["sound"] is False
    report = report_labels(settings(parts))
    assert sum(report.pictures.values()) == 12
