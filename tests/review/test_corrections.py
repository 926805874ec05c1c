"""Corrections last: with their author, beside the picture itself, none lost, none changed."""

import hashlib
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from inspection.core.errors import ConfigError, DatasetError, ImageError, InspectionError
from inspection.review.corrections import (
    IN_FORCE,
    MASKS,
    PICTURES,
    RECORDS,
    REPLACED,
    add_correction,
    read_corrections,
    read_drawing,
    read_labels,
)
from tests.review.desk import NOON, SIZE_HW, correct, mask, note, part, save

pytestmark = pytest.mark.fast

SCRATCH, STAIN = (10, 20, 60, 22), (100, 50, 130, 80)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A part with a scratch and a stain."""
    return save(tmp_path / "parts" / "part.png", part(SCRATCH, STAIN))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where corrections go; not made yet."""
    return tmp_path / "desk" / "corrections"


def test_a_correction_reads_back_with_everything(store: Path, picture: Path):
    """Picture, mask, author, kind and comment are those that were given."""
    added = correct(store, picture, mask(SCRATCH), defect="scratch", why="too wide", event_id="e1")
    (listed,) = read_corrections(store)
    assert listed == added
    assert (listed.state, listed.damaged) == (IN_FORCE, False)
    record = listed.record
    assert (record.author, record.defect, record.why, record.event_id) == (
        *("weber", "scratch", "too wide", "e1"),
    )
    assert (record.when, record.image, record.replaces) == (NOON, "part.png", None)
    assert (record.height_px, record.width_px) == SIZE_HW
    (label,) = read_labels(store)
    np.testing.assert_array_equal(label.pixels, part(SCRATCH, STAIN))
    np.testing.assert_array_equal(label.mask, mask(SCRATCH))
    assert (label.author, label.image) == ("weber", "part.png")
    assert label.image_sha256 == hashlib.sha256(picture.read_bytes()).hexdigest()


def test_labels_outlive_the_picture(store: Path, picture: Path):
    """A station may drop the picture; its bytes are kept, and once only."""
    encoded = picture.read_bytes()
    correct(store, picture, mask(SCRATCH), 0, defect="scratch")
    correct(store, picture, mask(STAIN), 1, defect="stain")
    picture.unlink()
    (kept,) = (store / PICTURES).iterdir()
    assert kept.read_bytes() == encoded
    assert len(list(read_labels(store))) == 1


def test_kinds_stand_beside_each_other(store: Path, picture: Path):
    """A stain does not replace a scratch; the label joins both, in the name of both authors."""
    correct(store, picture, mask(SCRATCH), 0, defect="scratch")
    correct(store, picture, mask(STAIN), 1, defect="stain", author="kim")
    assert [one.state for one in read_corrections(store)] == [IN_FORCE, IN_FORCE]
    (label,) = read_labels(store)
    np.testing.assert_array_equal(label.mask, mask(SCRATCH, STAIN))
    assert label.author == "weber, kim"
    assert [one.defect for one, _ in label.defects] == ["scratch", "stain"]


def test_the_newest_of_a_kind_is_in_force(store: Path, picture: Path):
    """A second scratch mask replaces the first, names it, and leaves it where it is."""
    first = correct(store, picture, mask(SCRATCH), 0, defect="scratch")
    second = correct(store, picture, mask((0, 0, 5, 5)), 1, defect="scratch", author="kim")
    assert second.record.replaces == first.path.name
    assert [one.state for one in read_corrections(store)] == [REPLACED, IN_FORCE]
    assert first.path.exists()
    (label,) = read_labels(store)
    np.testing.assert_array_equal(label.mask, mask((0, 0, 5, 5)))
    assert label.author == "kim"


def test_a_mask_without_kind_replaces_all_of_its_picture(store: Path, picture: Path, tmp_path):
    """Who speaks of the whole picture overrules every kind; other pictures stay as they are."""
    other = save(tmp_path / "other.png", part(STAIN))
    correct(store, picture, mask(SCRATCH), 0, defect="scratch")
    correct(store, other, mask(STAIN), 1, defect="stain")
    correct(store, picture, mask(), 2)
    assert [one.state for one in read_corrections(store)] == [REPLACED, IN_FORCE, IN_FORCE]
    good, bad = read_labels(store)
    assert (good.is_good, good.mask.any(), bad.is_good) == (True, False, False)


def test_one_kind_beside_a_mask_of_all_is_refused(store: Path, picture: Path):
    """That mask may hold the scratch, too, and both would be exported; clearing it makes room."""
    correct(store, picture, mask(SCRATCH), 0)
    for drawn in (mask(SCRATCH), mask()):
        with pytest.raises(ConfigError, match="by weber, 2025-03-01 12:00:00 UTC, names no kind"):
            correct(store, picture, drawn, 1, defect="scratch", author="kim")
    correct(store, picture, mask(), 2)
    correct(store, picture, mask(STAIN), 3, defect="scratch", author="kim")
    (label,) = read_labels(store)
    np.testing.assert_array_equal(label.mask, mask(STAIN))


def test_a_mask_of_all_of_another_picture_hinders_nobody(store: Path, picture: Path, tmp_path):
    """What is refused is refused by picture."""
    correct(store, save(tmp_path / "other.png", part(STAIN)), mask(STAIN), 0)
    assert correct(store, picture, mask(SCRATCH), 1, defect="scratch").record.replaces is None


def test_a_mask_of_all_dated_before_one_of_a_kind_is_refused(store: Path, picture: Path):
    """It would stand beside the later one instead of replacing it."""
    correct(store, picture, mask(SCRATCH), 5, defect="scratch")
    with pytest.raises(ConfigError, match="would not replace it; check this machine's clock"):
        correct(store, picture, mask(STAIN), 0)


def test_no_scratch_is_not_yet_good(store: Path, picture: Path):
    """Who says that there is no scratch says nothing of stains."""
    correct(store, picture, mask(), defect="scratch")
    (label,) = read_labels(store)
    assert (label.mask.any(), label.is_good, label.defects) == (False, False, ())


def test_a_record_that_would_not_be_in_force_is_refused(store: Path, picture: Path):
    """A clock that goes back does not write what nobody would read; zones are compared rightly."""
    correct(store, picture, mask(SCRATCH), 0, defect="scratch")
    correct(store, picture, mask(STAIN), -5, defect="stain")
    for minute in (0, -1):
        with pytest.raises(ConfigError, match=r"weber corrected part\.png at 2025-03-01 12:00:00"):
            correct(store, picture, mask(STAIN), minute, defect="scratch")
    tokyo = timezone(timedelta(hours=9))
    later = note(defect="scratch", when=datetime(2025, 3, 1, 21, 1, tzinfo=tokyo))
    assert add_correction(store, picture, mask(), later).path.name.startswith("20250301T120100")
    assert len(read_corrections(store)) == 3


@pytest.mark.parametrize(
    ("drawn", "said"),
    [
        (np.zeros((192, 96), np.bool_), r"the mask is bool \(192, 96\); wanted bool \(96, 192\)"),
        (np.zeros((95, 192), np.bool_), r"the mask is bool \(95, 192\)"),
        (np.zeros((96, 192), np.uint8), r"the mask is uint8 \(96, 192\)"),
        (np.zeros((96, 192, 3), np.bool_), r"the mask is bool \(96, 192, 3\)"),
    ],
    ids=["sides swapped", "a row less", "no bool", "colours"],
)
def test_a_mask_that_does_not_fit_is_refused(store: Path, picture: Path, drawn, said: str):
    """Nothing is written of a mask of another picture."""
    with pytest.raises(ImageError, match=said):
        add_correction(store, picture, drawn, note())
    assert not store.exists()


def palette(pixels: np.ndarray, *colours: int) -> Image.Image:
    """A picture of indices into colours, three values each."""
    image = Image.fromarray(pixels, "P")
    image.putpalette(colours)
    return image


DRAWN = mask(SCRATCH).astype(np.uint8)
COLOURED = DRAWN[:, :, None] * np.array([0, 200, 0], np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(DRAWN),
        Image.fromarray(DRAWN * 255),
        Image.fromarray(DRAWN > 0),
        Image.fromarray(COLOURED),
        palette(DRAWN, 0, 0, 0, 128, 0, 0),
    ],
    ids=["0 and 1", "0 and 255", "1 bit", "black and green", "palette"],
)
def test_a_drawing_has_one_value_beside_0(tmp_path: Path, image: Image.Image):
    """Whatever the editor calls it."""
    image.save(tmp_path / "drawn.png")
    np.testing.assert_array_equal(read_drawing(tmp_path / "drawn.png"), mask(SCRATCH))


@pytest.mark.parametrize("value", [0, 255])
def test_a_drawing_may_have_one_value(tmp_path: Path, value: int):
    """No defect, or nothing else."""
    path = save(tmp_path / "drawn.png", np.full(SIZE_HW, value, np.uint8))
    assert (read_drawing(path) == bool(value)).all()


@pytest.mark.parametrize(
    ("image", "name", "said"),
    [
        (Image.fromarray(part(SCRATCH, STAIN, level=200)), "a.png", "more than two values"),
        (Image.fromarray(part(SCRATCH)), "a.png", "two values, none of 0"),
        (Image.fromarray(DRAWN * 255), "a.jpg", "more than two values"),
        (Image.fromarray(np.dstack((COLOURED, DRAWN * 255))), "a.png", "an alpha channel"),
        (Image.fromarray(np.dstack((DRAWN, DRAWN * 255))), "a.png", "an alpha channel"),
        (palette(DRAWN, 0, 0, 0, 0, 0, 0), "a.png", "an alpha channel"),
        (Image.fromarray(DRAWN.astype(np.uint16)), "a.png", "pixel mode is I;16"),
    ],
    ids=["photograph", "picture", "specks", "RGBA", "grey with alpha", "clear colour", "16 bit"],
)
def test_what_is_no_drawing_is_refused(tmp_path: Path, image: Image.Image, name: str, said: str):
    """Any value above 0 would be a defect; a shape in the alpha channel would be none."""
    if image.mode == "RGB" and "more" in said:
        image.putpixel((3, 3), (9, 9, 9))
    image.save(tmp_path / name, **({"transparency": 0} if image.mode == "P" else {}))
    with pytest.raises(ImageError, match=f"{said}.*; wanted a mask of 0 and .* save it as PNG"):
        read_drawing(tmp_path / name)


def test_a_name_from_another_system_is_kept_as_far_as_it_can(store: Path, tmp_path: Path):
    """A backslash is no letter of a file's name here, whoever made the file."""
    odd = save(tmp_path / "a\\b.png", part(SCRATCH))
    assert correct(store, odd, mask(SCRATCH)).record.image == "a_b.png"
    assert len(list(read_labels(store))) == 1


def test_what_is_no_picture_is_refused(store: Path, tmp_path: Path):
    """A text, a torn picture and a missing one."""
    text = tmp_path / "text.png"
    text.write_text("no picture")
    whole = save(tmp_path / "torn.png", part()).read_bytes()
    (tmp_path / "torn.png").write_bytes(whole[: len(whole) // 2])
    for path in (text, tmp_path / "torn.png", tmp_path / "gone.png"):
        with pytest.raises(ImageError, match=path.name):
            add_correction(store, path, mask(), note())
    assert not store.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"author": ""},
        {"author": "  "},
        {"defect": ""},
        {"defect": "../up"},
        {"defect": "a/b"},
        {"defect": ".hidden"},
        {"defect": "good"},
        {"when": datetime(2025, 3, 1)},  # noqa: DTZ001 - what is refused
        {"reason": "unknown"},
    ],
    ids=str,
)
def test_a_note_that_says_nothing_is_refused(changes: dict[str, object]):
    """Somebody drew it; a kind can be a folder's name, and is no 'good'."""
    with pytest.raises(ValidationError):
        note(**changes)


def test_damaged_files_are_listed_and_no_label_is_read_over_them(store: Path, picture: Path):
    """A torn record, a changed one, a changed mask: each is told, all at once."""
    torn = correct(store, picture, mask(SCRATCH), 0, defect="scratch").path
    forged = correct(store, picture, mask(STAIN), 1, defect="stain").path
    hole = correct(store, picture, mask((0, 0, 9, 9)), 2, defect="hole")
    torn.write_text(torn.read_text()[:50])
    forged.write_text(forged.read_text().replace("weber", "nobody"))
    (store / MASKS / hole.record.mask_file).write_bytes(b"other")
    listed = read_corrections(store)
    assert [(one.damaged, one.record is None) for one in listed] == [
        *((True, True), (True, True), (True, False)),
    ]
    assert "not JSON" in listed[0].state
    assert listed[1].state == f"{forged}: its content does not fit its name; it was changed"
    assert listed[2].state.endswith(f"{hole.record.mask_file}: its bytes have changed")
    with pytest.raises(
        DatasetError, match="corrections: 3 records are damaged; put them back"
    ) as e:
        read_labels(store)
    assert len(str(e.value).splitlines()) == 4


def test_damage_to_what_is_replaced_hinders_nobody(store: Path, picture: Path):
    """Drawing again heals a lost mask; the record that tells of it stays."""
    lost = correct(store, picture, mask(SCRATCH), 0, defect="scratch").record.mask_file
    (store / MASKS / lost).unlink()
    assert read_corrections(store)[0].state.endswith("is gone")
    correct(store, picture, mask(STAIN), 1, defect="scratch")
    assert [one.state for one in read_corrections(store)] == [REPLACED, IN_FORCE]
    assert len(list(read_labels(store))) == 1


def test_a_half_written_picture_is_written_again(store: Path, picture: Path):
    """What a power cut left behind the name of a picture is not taken for it."""
    added = correct(store, picture, mask(SCRATCH), 0, defect="scratch")
    kept = store / PICTURES / added.record.picture_file
    kept.write_bytes(kept.read_bytes()[:10])
    correct(store, picture, mask(STAIN), 1, defect="stain")
    assert kept.read_bytes() == picture.read_bytes()


def test_files_that_are_no_records_are_left_alone(store: Path, picture: Path):
    """A half-written record and somebody's notes are no corrections."""
    correct(store, picture, mask(SCRATCH))
    (store / RECORDS / ".x.json.partial").write_text("{")
    (store / RECORDS / "readme.txt").write_text("ours")
    assert len(read_corrections(store)) == 1


def test_no_folder_is_no_empty_set(tmp_path: Path):
    """A misspelt folder is told, for reading labels too."""
    for read in (read_corrections, read_labels):
        with pytest.raises(DatasetError, match=r"none: holds no corrections .*review correct"):
            read(tmp_path / "none")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, picture: Path):
    """A file in the folder's place."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InspectionError, match="file: cannot be read or written"):
        add_correction(tmp_path / "file", picture, mask(), note())


def test_pictures_come_in_the_order_of_their_first_review(store: Path, tmp_path: Path):
    """So that a picture keeps its number however often it is corrected."""
    first, second = (save(tmp_path / f"{n}.png", part((n, 0, 9, 9))) for n in (1, 2))
    correct(store, second, mask(), 0)
    correct(store, first, mask(), 1)
    correct(store, second, mask(SCRATCH), 2)
    assert [label.image for label in read_labels(store)] == ["2.png", "1.png"]
