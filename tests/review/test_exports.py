"""Reviewed masks go on: to other tools as COCO, to the next training as a data set."""

from pathlib import Path

import numpy as np
import pytest

from inspection.core.errors import ConfigError, DatasetError
from inspection.core.imaging import load_image
from inspection.core.parts import load_part, load_part_mask
from inspection.core.records import Label
from inspection.data.check import check_dataset
from inspection.review.corrections import PICTURES
from inspection.review.exports import export_coco, export_corrections, export_dataset
from tests.review.desk import correct, mask, part, save
from tests.review.test_coco import fill

pytestmark = pytest.mark.fast

SCRATCH, STAIN, OTHER = (10, 20, 60, 22), (100, 50, 130, 80), (150, 5, 170, 15)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Reviews of five parts: stain and scratch, two scratches, unnamed, good, undecided."""
    store = tmp_path / "corrections"
    parts = [
        save(tmp_path / folder / "000.png", part(*spots))
        for folder, spots in (("a", (STAIN, SCRATCH)), ("b", (SCRATCH,)), ("c", (OTHER,)))
    ]
    parts += [save(tmp_path / f"{name}.bmp", part(level=1)) for name in ("good",)]
    parts += [save(tmp_path / "d" / "000.png", part((1, 1, 3, 3)))]
    correct(store, parts[0], mask(STAIN), 0, defect="stain")
    correct(store, parts[0], mask(SCRATCH), 1, defect="scratch", author="kim", why="thin")
    correct(store, parts[1], mask(SCRATCH, OTHER), 2, defect="scratch")
    correct(store, parts[2], mask(OTHER), 3)
    correct(store, parts[3], mask(), 4)
    correct(store, parts[4], mask(), 5, defect="scratch")
    return store


def test_coco_holds_every_reviewed_defect(store: Path):
    """Each connected part of a mask is one annotation of its kind, with its author."""
    file = export_coco(store)
    names = {one.id: one.name for one in file.categories}
    assert names == {1: "stain", 2: "scratch", 3: "defect"}
    found = [(one.image_id, names[one.category_id], one.bbox) for one in file.annotations]
    assert found == [
        (1, "stain", (100, 50, 30, 30)),
        (1, "scratch", (10, 20, 50, 2)),
        (2, "scratch", (150, 5, 20, 10)),
        (2, "scratch", (10, 20, 50, 2)),
        (3, "defect", (150, 5, 20, 10)),
    ]
    thin = file.annotations[1]
    np.testing.assert_array_equal(fill(thin.segmentation, (96, 192)), mask(SCRATCH))
    assert (thin.area, thin.score) == (100, None)
    assert (thin.attributes["author"], thin.attributes["why"]) == ("kim", "thin")
    assert [one.attributes["image"] for one in file.images].count("000.png") == 4


def test_coco_names_the_pictures_that_are_kept(store: Path):
    """`pictures` of the folder is where other tools find them."""
    for image in export_coco(store).images:
        pixels = load_image(store / PICTURES / image.file_name)
        assert pixels.shape[:2] == (image.height, image.width)


def test_numbers_of_pictures_and_kinds_stay_when_the_folder_grows(store: Path, tmp_path: Path):
    """Another kind and another picture come behind, and a corrected one keeps its place."""
    before = export_coco(store)
    correct(
        store, save(tmp_path / "new.png", part(OTHER, level=254)), mask(OTHER), 6, defect="a hole"
    )
    correct(store, tmp_path / "a" / "000.png", mask(), 7)
    after = export_coco(store)
    assert after.images[: len(before.images)] == before.images
    assert [one.name for one in after.categories] == ["stain", "scratch", "defect", "a hole"]


def test_the_data_set_is_one_that_check_reads(store: Path, tmp_path: Path):
    """Good parts to fit, defects to test by kind, masks as they were drawn."""
    made = export_dataset(store, tmp_path / "set")
    assert (made.good, made.undecided) == (1, 1)
    assert made.defects == {"combined": 1, "defect": 1, "scratch": 1}
    report = check_dataset(tmp_path / "set")
    assert {finding.kind for finding in report.problems} == {"too few normals"}
    assert report.manifest.layout == "mvtec"
    by_defect = {entry.defect: entry for entry in report.manifest.entries}
    assert by_defect[None].label is Label.GOOD
    drawn = load_part_mask(report.manifest, by_defect["combined"])
    np.testing.assert_array_equal(drawn, mask(STAIN, SCRATCH))
    np.testing.assert_array_equal(
        load_part(report.manifest, by_defect["combined"]), part(STAIN, SCRATCH)
    )


def test_a_data_set_without_good_parts_is_known_as_one(tmp_path: Path):
    """The folder that marks the layout is there all the same."""
    store = tmp_path / "corrections"
    correct(store, save(tmp_path / "000.png", part(STAIN)), mask(STAIN), defect="stain")
    export_dataset(store, tmp_path / "set")
    (entry,) = check_dataset(tmp_path / "set").manifest.entries
    assert entry.defect == "stain"


def test_a_data_set_is_never_mixed_with_another(store: Path, tmp_path: Path):
    """A folder that is there is refused."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("")
    with pytest.raises(ConfigError, match="set: exists already"):
        export_dataset(store, tmp_path / "set")


def test_an_earlier_export_is_written_anew(store: Path, tmp_path: Path):
    """The folder grows, and so does its file."""
    coco = tmp_path / "reviewed.json"
    for minute in (6, 7):
        assert export_corrections(store, coco, None) is None
        assert coco.read_text() == export_coco(store).text
        correct(store, tmp_path / "b" / "000.png", mask(OTHER), minute, defect="hole")


def test_nothing_else_is_written_over(store: Path, tmp_path: Path):
    """Neither a picture, nor another program's JSON, nor what review refine made, nor a folder."""
    theirs = {"a.png": b"picture", "a.json": b"{}", "folder/a.txt": b""}
    refined = export_coco(store).text.replace("defects as reviewed", "plate, outlines by GrabCut")
    theirs["annotations.json"] = refined.encode()
    for name, content in theirs.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    for name in ("a.png", "a.json", "folder", "annotations.json"):
        with pytest.raises(ConfigError, match=f"{name}: is there and holds .* name a new file"):
            export_corrections(store, tmp_path / name, tmp_path / "set")
    assert {name: (tmp_path / name).read_bytes() for name in theirs} == theirs
    assert not (tmp_path / "set").exists()


def test_nothing_is_written_among_corrections(store: Path):
    """Not even a new file, by whatever name the folder goes."""
    before = sorted(store.rglob("*"))
    record = next((store / "records").iterdir())
    for place in (record, store / "x.json", store / "masks" / ".." / "y.json"):
        for coco, dataset in ((place, None), (None, place)):
            with pytest.raises(ConfigError, match="which holds corrections only; name a place"):
                export_corrections(store, coco, dataset)
    assert sorted(store.rglob("*")) == before


def test_half_an_export_is_none(store: Path, tmp_path: Path):
    """A data set that is there is told before the COCO file is written."""
    save(tmp_path / "set" / "mine.png", part())
    with pytest.raises(ConfigError, match="set: exists already"):
        export_corrections(store, tmp_path / "new.json", tmp_path / "set")
    assert not (tmp_path / "new.json").exists()


def test_a_damaged_folder_exports_nothing(store: Path, tmp_path: Path):
    """A defect whose mask is lost must not become a good part."""
    next((store / "masks").iterdir()).unlink()
    for export in (export_coco, lambda folder: export_dataset(folder, tmp_path / "set")):
        with pytest.raises(DatasetError, match="damaged"):
            export(store)
    assert not (tmp_path / "set").exists()
