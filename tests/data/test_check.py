"""The check names everything that is wrong with a folder, all at once and sorted."""

import csv
import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from inspection.core.errors import DatasetError
from inspection.core.imaging import load_image
from inspection.core.records import Label, Split, read_record, write_record
from inspection.data.check import DatasetReport, check_dataset
from inspection.data.duplicates import image_signature, near_duplicates
from inspection.data.findings import Kind
from inspection.data.folder import list_folder
from inspection.data.split import SplitRule
from tests.synthetic import make_defect, make_part, write_mvtec_tree, write_png

pytestmark = pytest.mark.fast

SIZE_HW = (48, 64)
LOOSE = 0.49  # a false-reject rate that two calibrate parts can promise


def _part(number):
    return make_part(np.random.default_rng([9, number]), SIZE_HW)


def _defect(number):
    rng = np.random.default_rng([10, number])
    return make_defect(rng, make_part(rng, SIZE_HW), "stain")


def _goods(folder, count, start=0, suffix=".png"):
    for number in range(start, start + count):
        write_png(folder / f"{number:03d}{suffix}", _part(number))


def _tree(tmp_path, size_hw=SIZE_HW):
    return write_mvtec_tree(tmp_path / "set", 1, train_good=20, size_hw=size_hw)


def _check(root, **settings):
    rule = SplitRule(calibrate_share=0.3)
    return check_dataset(root, **{"rule": rule, "false_reject_rate": LOOSE} | settings)


def _said(findings):
    return [(finding.kind, finding.path) for finding in findings]


def _entries(report):
    return {
        entry.path: (entry.label, entry.defect, entry.mask) for entry in report.manifest.entries
    }


def test_sound_set_has_a_manifest_and_nothing_to_say(tmp_path):
    """A clean tree gives a full manifest, sorted by path, no problems and no notes."""
    root = _tree(tmp_path)
    report = _check(root)
    assert (report.sound, report.problems, report.notes) == (True, (), ())
    entries = report.manifest.entries
    assert [entry.path for entry in entries] == sorted(entry.path for entry in entries)
    assert len(entries) == 20 + 6 + 6
    stain = next(entry for entry in entries if entry.path == "test/stain/001.png")
    assert (stain.height_px, stain.width_px, stain.mode) == (48, 64, "RGB")
    assert (stain.label, stain.defect) == (Label.DEFECT, "stain")
    assert (stain.mask, stain.split) == ("ground_truth/stain/001_mask.png", Split.TEST)
    assert (report.manifest.root, report.manifest.layout) == (str(root.resolve()), "mvtec")


def test_report_survives_its_file(tmp_path):
    """What is written as JSON is read back the same."""
    report = check_dataset(_tree(tmp_path))
    write_record(tmp_path / "report.json", report)
    assert read_record(tmp_path / "report.json", DatasetReport) == report


def test_report_that_contradicts_itself_is_refused(tmp_path):
    """No report is sound with problems or unsound without."""
    report = _check(_tree(tmp_path))
    with pytest.raises(ValueError, match="sound must be true without problems"):
        DatasetReport.model_validate(report.model_dump() | {"sound": False})


def test_all_defaults_on_a_small_set_name_what_is_missing(tmp_path):
    """By default 99 calibrate parts are wanted, for a false-reject rate of 0.01."""
    report = check_dataset(_tree(tmp_path))
    assert _said(report.problems) == [(Kind.TOO_FEW, ".")]
    found = sum(entry.split is Split.CALIBRATE for entry in report.manifest.entries)
    assert report.problems[0].message.startswith(
        f"calibrate holds {found} good parts; wanted 99 to promise a false-reject rate of 0.01; "
        "add about 640 good parts or promise 0."
    )
    assert not report.sound


@pytest.mark.parametrize(
    ("rate", "wanted"),
    [
        pytest.param(0.1, 9, id="nine"),
        pytest.param(0.05, 19, id="19"),
        pytest.param(0.3, 3, id="3"),
    ],
)
def test_promise_needs_one_over_rate_less_one(tmp_path, rate, wanted):
    """The number of normals follows from split conformal: n of at least 1/a - 1."""
    _goods(tmp_path / "good", 12)
    rule = SplitRule(calibrate_share=0.01, test_share=0.01)
    problems = check_dataset(tmp_path, rule=rule, false_reject_rate=rate).problems
    assert [p.message for p in problems if f"wanted {wanted} to promise" in p.message]


def _break_empty(path):
    path.write_bytes(b"")


def _break_truncated(path):
    path.write_bytes(path.read_bytes()[:900])


def _break_text(path):
    path.write_text("not a picture")


def _break_tiny(path):
    Image.new("RGB", (1, 1)).save(path)


def _break_huge(path):
    Image.new("1", (20_000, 20_000)).save(path)


def _break_float(path):
    Image.fromarray(np.zeros(SIZE_HW, np.float32)).save(path, "TIFF")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        pytest.param(_break_empty, "file is empty", id="empty"),
        pytest.param(_break_truncated, "cannot be decoded", id="truncated"),
        pytest.param(_break_text, "not an image file", id="text named png"),
        pytest.param(_break_tiny, "image is 1×1 px", id="one pixel"),
        pytest.param(_break_huge, "at most 80,000,000 pixels", id="20,000 px"),
        pytest.param(_break_float, "pixel mode is F", id="float"),
    ],
)
def test_unreadable_image_is_named_and_left_out(tmp_path, harm, message):
    """A file that is no part is a problem with its path and cause, and never an entry."""
    root = _tree(tmp_path)
    harm(root / "train/good/003.png")
    report = _check(root)
    assert _said(report.problems) == [(Kind.UNREADABLE, "train/good/003.png")]
    assert re.match(r"train/good/003\.png: ", report.problems[0].message)
    assert message in report.problems[0].message
    assert "train/good/003.png" not in _entries(report)


def test_all_problems_at_once_sorted(tmp_path):
    """Nothing hides behind the first problem, and two runs say the same in the same order."""
    root = _tree(tmp_path)
    _break_text(root / "train/good/005.png")
    _break_empty(root / "test/good/000.png")
    write_png(root / "ground_truth/stain/000_mask.png", np.full((64, 48), 255, np.uint8))
    write_png(root / "ground_truth/stain/zzz_mask.png", np.full(SIZE_HW, 255, np.uint8))
    _break_text(root / "ground_truth/scratch/000_mask.png")
    (root / "ground_truth/scratch/002_mask.png").unlink()
    report = _check(root)
    assert _said(report.problems) == [
        (Kind.UNREADABLE_MASK, "ground_truth/scratch/000_mask.png"),
        (Kind.MASK_SIZE, "ground_truth/stain/000_mask.png"),
        (Kind.MASK_WITHOUT_IMAGE, "ground_truth/stain/zzz_mask.png"),
        (Kind.UNREADABLE, "test/good/000.png"),
        (Kind.IMAGE_WITHOUT_MASK, "test/scratch/002.png"),
        (Kind.UNREADABLE, "train/good/005.png"),
    ]
    assert "is 64×48 px; wanted 48×64 px like test/stain/000.png" in report.problems[1].message
    assert _check(root) == report
    assert not any(str(tmp_path) in problem.message for problem in report.problems)


def test_no_masks_at_all_is_a_note(tmp_path):
    """A set without any mask is judged by part; that is said, and is no problem."""
    root = _tree(tmp_path)
    shutil.rmtree(root / "ground_truth")
    report = _check(root)
    assert report.sound
    assert [note.message for note in report.notes] == [
        "none of 6 defects has a mask; parts are judged, pixels are not"
    ]


def test_masks_are_paired_by_name_not_by_position(tmp_path):
    """Taking one mask away shifts no other mask."""
    root = _tree(tmp_path)
    (root / "ground_truth/stain/000_mask.png").unlink()
    entries = _entries(_check(root))
    assert entries["test/stain/000.png"][2] is None
    assert entries["test/stain/001.png"][2] == "ground_truth/stain/001_mask.png"
    assert entries["test/stain/002.png"][2] == "ground_truth/stain/002_mask.png"


def test_two_masks_or_two_images_of_one_name_are_named(tmp_path):
    """What pairing by name cannot decide is a problem."""
    root = _tree(tmp_path)
    truth = root / "ground_truth/stain"
    shutil.copy(truth / "000_mask.png", truth / "000.png")
    Image.fromarray(_defect(3)[0]).save(root / "test/stain/001.bmp")
    assert _said(_check(root).problems) == [
        (Kind.TWO_MASKS, "ground_truth/stain/000_mask.png"),
        (Kind.TWO_IMAGES, "test/stain/001.png"),
    ]


def test_empty_mask_of_a_defect_is_noted(tmp_path):
    """A mask that marks nothing is used, and said."""
    root = _tree(tmp_path)
    write_png(root / "ground_truth/stain/000_mask.png", np.zeros(SIZE_HW, np.uint8))
    report = _check(root)
    assert report.sound
    assert _said(report.notes) == [(Kind.EMPTY_MASK, "ground_truth/stain/000_mask.png")]


def test_mask_on_a_good_part_is_a_problem_and_an_empty_one_is_not(tmp_path):
    """Some sets ship black masks for good parts; one that marks something contradicts the label."""
    root = _tree(tmp_path)
    write_png(root / "ground_truth/good/000_mask.png", np.zeros(SIZE_HW, np.uint8))
    assert _check(root).sound
    write_png(root / "ground_truth/good/000_mask.png", np.full(SIZE_HW, 255, np.uint8))
    report = _check(root)
    assert _said(report.problems) == [(Kind.MASK_ON_GOOD, "ground_truth/good/000_mask.png")]
    assert _entries(report)["test/good/000.png"] == (Label.GOOD, None, None)


def test_same_bytes_in_two_splits_are_a_problem(tmp_path):
    """A file that stands in train and in test is named with every place."""
    root = _tree(tmp_path)
    shutil.copy(root / "train/good/000.png", root / "test/good/copy.png")
    problem = _check(root).problems[0]
    assert (problem.kind, problem.path) == (Kind.SAME_BYTES, "test/good/copy.png")
    assert "stand 2 times: test/good/copy.png (test, good), train/good/000.png" in problem.message


def test_same_bytes_called_good_and_defect_are_a_problem(tmp_path):
    """Two labels of one picture contradict each other even within test."""
    root = _tree(tmp_path)
    shutil.copy(root / "test/good/000.png", root / "test/stain/000.png")
    assert (Kind.SAME_BYTES, "test/good/000.png") in _said(_check(root).problems)


def test_copy_as_jpeg_across_splits_is_the_same_shot(tmp_path):
    """A near duplicate by other bytes is found; the other parts of the product are not."""
    root = _tree(tmp_path, (160, 224))
    pixels = load_image(root / "train/good/000.png")
    Image.fromarray(pixels).save(root / "test/good/copy.jpg", quality=95)
    report = _check(root)
    assert _said(report.problems) == [(Kind.NEAR_DUPLICATE, "test/good/copy.jpg")]
    assert "train/good/000.png" in report.problems[0].message
    assert "are the same shot" in report.problems[0].message


def test_same_part_under_other_light_is_a_note(tmp_path):
    """A pair far closer than the set's usual neighbours may be one part, and is said."""
    root = _tree(tmp_path, (160, 224))
    pixels = load_image(root / "train/good/000.png").astype(float)
    again = pixels * 0.8 + 10 + np.random.default_rng(0).normal(0, 3, pixels.shape)
    write_png(root / "test/good/again.png", again.clip(0, 255).astype(np.uint8))
    report = _check(root)
    assert report.sound
    assert _said(report.notes) == [(Kind.NEAR_DUPLICATE, "test/good/again.png")]
    assert "may show the same part" in report.notes[0].message


def test_signature_ignores_light_and_knows_the_part():
    """Brightness and contrast leave the signature alone; another part correlates far less."""
    part = _part(0)
    darker = (part * 0.7 + 20).astype(np.uint8)
    own = float(image_signature(part) @ image_signature(darker))
    other = float(image_signature(part) @ image_signature(_part(1)))
    assert own > 0.97
    assert other < 0.8


def test_flat_images_are_no_duplicates_of_each_other():
    """An image without detail says nothing about which part it shows."""
    dark, grey = (np.full((48, 64, 3), level, np.uint8) for level in (0, 128))
    assert not image_signature(dark).any()
    assert near_duplicates([image_signature(dark), image_signature(grey)], ["fit", "test"]) == []


def test_pairs_within_one_split_do_not_count():
    """The same part twice in fit leaks nothing."""
    signature = image_signature(_part(0))
    assert near_duplicates([signature, signature], ["fit", "fit"]) == []
    assert [pair.same_shot for pair in near_duplicates([signature] * 2, ["fit", "test"])] == [True]


@pytest.mark.parametrize(
    ("mode", "suffix", "message"),
    [
        pytest.param("RGBA", ".png", "pixel mode RGBA, 1 images; alpha dropped", id="alpha"),
        pytest.param("CMYK", ".tif", "pixel mode CMYK, 1 images; CMYK converted", id="CMYK"),
        pytest.param("I;16", ".png", "16-bit grey reduced to its high byte", id="16-bit"),
    ],
)
def test_odd_pixel_mode_is_noted_with_what_is_done(tmp_path, mode, suffix, message):
    """A mode that is converted is named with its rule; the set stays sound."""
    root = _tree(tmp_path)
    part = Image.fromarray(_part(50))
    if mode == "I;16":
        part = Image.fromarray(np.asarray(part.convert("L")).astype(np.uint16) << 8)
    else:
        part = part.convert(mode)
    part.save(root / "train/good" / f"odd{suffix}")
    report = _check(root)
    assert report.sound
    assert _said(report.notes) == [(Kind.PIXEL_MODE, f"train/good/odd{suffix}")]
    assert message in report.notes[0].message


def test_links_out_of_the_set_are_named_and_not_followed(tmp_path):
    """A link that leaves the root, or a linked folder, is a problem and never an entry."""
    root = _tree(tmp_path)
    _goods(tmp_path / "elsewhere", 2, 60)
    (root / "train/good/link.png").symlink_to(tmp_path / "elsewhere/060.png")
    (root / "test/dent").symlink_to(tmp_path / "elsewhere")
    (root / "train/good/broken.png").symlink_to(root / "train/good/nowhere.png")
    report = _check(root)
    assert _said(report.problems) == [
        (Kind.OUTSIDE, "test/dent"),
        (Kind.UNREADABLE, "train/good/broken.png"),
        (Kind.OUTSIDE, "train/good/link.png"),
    ]
    assert "train/good/link.png" not in _entries(report)


def test_files_of_no_meaning_are_counted(tmp_path):
    """What the layout does not know is left out, with the count and the first name."""
    root = _tree(tmp_path)
    (root / "readme.txt").write_text("read me")
    (root / "train/good/.DS_Store").write_bytes(b"x")
    _goods(root / "validation", 3, 80)
    report = _check(root)
    assert report.sound
    assert [note.message for note in report.notes] == [
        ".: 1 files are no image of this layout and are left out, first readme.txt",
        "train/good: 1 files are no image of this layout and are left out, first "
        "train/good/.DS_Store",
        "validation: 3 files are no image of this layout and are left out, first "
        "validation/080.png",
    ]


def test_group_across_train_and_test_is_a_problem(tmp_path):
    """With a group pattern the check names what the split would refuse."""
    root = _tree(tmp_path)
    write_png(root / "train/good/000.png", _part(70))
    report = _check(root, rule=SplitRule(group=r"^\d+", calibrate_share=0.3))
    said = _said(report.problems)
    assert [path for kind, path in said if kind is Kind.GROUP] == [
        f"train/good/{number:03d}.png" for number in range(6)
    ]
    message = report.problems[-1].message
    assert message.startswith("train/good/005.png: group '005' stands in train and in test")


def test_name_without_group_is_a_problem(tmp_path):
    """Names that the pattern does not fit are listed, all at once."""
    root = _tree(tmp_path)
    write_png(root / "train/good/odd.png", _part(71))
    write_png(root / "train/good/strange.png", _part(72))
    rule = SplitRule(group=r"^\d\d\d", calibrate_share=0.3)
    said = _said(_check(root, rule=rule).problems)
    assert (Kind.NO_GROUP, "train/good/odd.png") in said
    assert (Kind.NO_GROUP, "train/good/strange.png") in said


def test_nothing_to_fit_is_a_problem(tmp_path):
    """A train folder without a readable image cannot teach."""
    root = _tree(tmp_path)
    shutil.rmtree(root / "train/good")
    (root / "train/good").mkdir()
    assert (Kind.EMPTY_SPLIT, ".") in _said(_check(root).problems)


def test_folder_without_defects_is_fine(tmp_path):
    """Good parts alone are a set; the note says that the gate will use generated defects."""
    root = write_mvtec_tree(tmp_path, 2, train_good=20, test_good=0, per_defect=0)
    report = _check(root)
    assert report.sound
    said = " ".join(note.message for note in report.notes)
    assert "test is empty; the gate will judge on generated defects" in said
    assert "test has no good part; those of calibrate will stand in for them" in said


def test_name_that_is_no_text_is_a_problem(tmp_path):
    """A name in an old encoding cannot stand in a manifest; the others are read."""
    root = _tree(tmp_path)
    (root / "train/good").joinpath("gr\udcfc\udcdf.png").write_bytes(b"")
    problems = _check(root).problems
    assert [found.message for found in problems if found.kind is Kind.UNNAMED] == [
        "train/good/gr\\xfc\\xdf.png: its name is no UTF-8; wanted one that is; rename it"
    ]


def test_btad_layout(tmp_path):
    """BTAD pairs ko images with masks of the same stem, whatever their suffix."""
    _goods(tmp_path / "train/ok", 20, suffix=".bmp")
    _goods(tmp_path / "test/ok", 3, 30, suffix=".bmp")
    for number in range(2):
        pixels, mask = _defect(number)
        write_png(tmp_path / f"test/ko/{number:04d}.bmp", pixels)
        suffix = (".png", ".bmp")[number]
        write_png(tmp_path / f"ground_truth/ko/{number:04d}{suffix}", mask.astype(np.uint8) * 255)
    report = _check(tmp_path)
    entries = _entries(report)
    assert (report.sound, report.manifest.layout) == (True, "btad")
    assert entries["test/ko/0000.bmp"] == (Label.DEFECT, "ko", "ground_truth/ko/0000.png")
    assert entries["test/ko/0001.bmp"] == (Label.DEFECT, "ko", "ground_truth/ko/0001.bmp")
    assert entries["test/ok/030.bmp"] == (Label.GOOD, None, None)


def _visa(tmp_path, name="candle"):
    root = tmp_path / name
    for number in range(24):
        path = root / f"Data/Images/Normal/{number:04d}.JPG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_part(number)).save(path, "JPEG", quality=98)
    for number in range(3):
        pixels, mask = _defect(number)
        path = root / f"Data/Images/Anomaly/{number:03d}.JPG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, "JPEG", quality=98)
        # VisA's masks hold small class numbers, not 255
        write_png(root / f"Data/Masks/Anomaly/{number:03d}.png", mask.astype(np.uint8))
    return root


def _visa_table(path, rows, columns=("object", "split", "label", "image", "mask")):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *rows])


def _visa_rows():
    normal = [
        ("candle", "train" if n < 20 else "test", "normal",
         f"candle/Data/Images/Normal/{n:04d}.JPG", "")
        for n in range(23)
    ]  # fmt: skip
    anomaly = [
        ("candle", "test", "anomaly", f"candle/Data/Images/Anomaly/{n:03d}.JPG",
         f"candle/Data/Masks/Anomaly/{n:03d}.png")
        for n in range(3)
    ]  # fmt: skip
    return [*normal, *anomaly, ("pcb1", "train", "normal", "pcb1/Data/Images/Normal/0.JPG", "")]


@pytest.mark.parametrize("beside", [True, False], ids=["beside the category", "inside it"])
def test_visa_layout_with_its_table(tmp_path, beside):
    """VisA's own table decides train and test; what it leaves out is noted."""
    root = _visa(tmp_path)
    _visa_table((tmp_path if beside else root) / "split_csv/1cls.csv", _visa_rows())
    report = _check(root)
    entries = {entry.path: entry for entry in report.manifest.entries}
    assert (report.sound, report.manifest.layout, len(entries)) == (True, "visa", 26)
    assert entries["Data/Images/Normal/0020.JPG"].split is Split.TEST
    assert entries["Data/Images/Normal/0019.JPG"].split is not Split.TEST
    anomaly = entries["Data/Images/Anomaly/002.JPG"]
    assert (anomaly.defect, anomaly.mask) == ("anomaly", "Data/Masks/Anomaly/002.png")
    assert "first Data/Images/Normal/0023.JPG" in report.notes[0].message


def test_visa_layout_without_table_is_divided_by_hash(tmp_path):
    """The raw folder has no test of good parts, so the hash takes one."""
    report = _check(_visa(tmp_path))
    splits = {entry.split for entry in report.manifest.entries if entry.label is Label.GOOD}
    assert report.sound
    assert splits == {Split.FIT, Split.CALIBRATE, Split.TEST}


def test_visa_file_that_the_table_names_must_be_there(tmp_path):
    """A fetch that stopped half-way is noticed."""
    root = _visa(tmp_path)
    _visa_table(root / "split_csv/1cls.csv", _visa_rows())
    (root / "Data/Images/Normal/0004.JPG").unlink()
    assert _said(_check(root).problems) == [(Kind.MISSING, "Data/Images/Normal/0004.JPG")]


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        pytest.param([("a", "b")], ("image", "where"), "columns are image, where", id="columns"),
        pytest.param(
            [("candle", "valid", "normal", "candle/x.JPG", "")],
            ("object", "split", "label", "image", "mask"),
            "split is 'valid'; wanted train or test",
            id="another split",
        ),
        pytest.param(
            [("pcb1", "test", "normal", "pcb1/x.JPG", "")],
            ("object", "split", "label", "image", "mask"),
            "no row for 'candle'; found pcb1",
            id="another category",
        ),
    ],
)
def test_visa_table_that_does_not_fit_is_refused(tmp_path, rows, columns, message):
    """A table of other columns, splits or categories is not interpreted."""
    root = _visa(tmp_path)
    _visa_table(root / "split_csv/1cls.csv", rows, columns)
    with pytest.raises(DatasetError, match=re.escape(message)):
        _check(root)


def test_plain_layout_with_defect_folders_and_masks(tmp_path):
    """Plain folders may nest; the first folder under bad/ names the defect, masks mirror bad/."""
    _goods(tmp_path / "good/monday", 12)
    _goods(tmp_path / "good", 12, 30)
    pixels, mask = _defect(0)
    write_png(tmp_path / "bad/dent/1.png", pixels)
    write_png(tmp_path / "masks/dent/1_mask.png", mask.astype(np.uint8) * 255)
    pixels, mask = _defect(1)
    write_png(tmp_path / "bad/2.png", pixels)
    write_png(tmp_path / "masks/2.png", mask.astype(np.uint8) * 255)
    report = _check(tmp_path)
    entries = _entries(report)
    assert (report.sound, report.manifest.layout, len(entries)) == (True, "plain", 26)
    assert entries["bad/dent/1.png"] == (Label.DEFECT, "dent", "masks/dent/1_mask.png")
    assert entries["bad/2.png"] == (Label.DEFECT, "bad", "masks/2.png")
    splits = {entry.split for entry in report.manifest.entries if entry.label is Label.GOOD}
    assert splits == {Split.FIT, Split.CALIBRATE, Split.TEST}


def test_folder_that_is_no_data_set_names_the_four_layouts(tmp_path):
    """The error says what was looked for."""
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DatasetError) as caught:
        list_folder(tmp_path)
    assert all(name in str(caught.value) for name in ("MVTec AD", "VisA", "BTAD", "plain"))
    with pytest.raises(DatasetError, match="nowhere: no such folder"):
        list_folder(tmp_path / "nowhere")


def test_folder_of_data_sets_names_them(tmp_path):
    """Someone who names the folder above is told which sets it holds."""
    (tmp_path / "bottle/train/good").mkdir(parents=True)
    (tmp_path / "cable/train/good").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"it holds data sets: bottle, cable; name one$"):
        list_folder(tmp_path)


def _magnetic_tile():
    root = Path(os.environ.get("INSPECTION_DATASETS", "../shared/datasets")) / "magnetic_tile"
    if not root.is_dir():
        pytest.skip(f"{root} is not there; set INSPECTION_DATASETS to run on real parts")
    return root


def test_real_parts_of_one_product_are_not_called_duplicates(tmp_path):
    """Of 101 real tiles none is the same shot as another, and a brighter JPEG copy of one is."""
    source = sorted((_magnetic_tile() / "train/good").iterdir())[:100]
    for path in source:
        target = tmp_path / "train/good" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (tmp_path / "test/good").mkdir(parents=True)
    shutil.copy(_magnetic_tile() / "test/good/000.jpg", tmp_path / "test/good/000.jpg")
    assert check_dataset(tmp_path, false_reject_rate=0.2).sound
    tile = load_image(source[0])
    brighter = np.clip(tile * 1.05 + 3, 0, 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "test/good/copy.jpg"), brighter, [cv2.IMWRITE_JPEG_QUALITY, 97])
    report = check_dataset(tmp_path, false_reject_rate=0.2)
    assert _said(report.problems) == [(Kind.NEAR_DUPLICATE, "test/good/copy.jpg")]
