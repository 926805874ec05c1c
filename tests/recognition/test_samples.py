"""Lessons: pictures and masks laid alike, thin and bare defects kept, defects pasted onto parts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inspection.core.imaging import load_image
from inspection.core.records import hash_file
from inspection.detectors.fitting import Fit
from inspection.detectors.layout import Picture
from inspection.recognition.labels import LabelledPicture, TypedDefect, pack
from inspection.recognition.pasting import Piece, cut_piece, paste
from inspection.recognition.samples import Lessons, as_target, lay_lesson
from inspection.recognition.settings import Augmentation

PICTURE = Picture(fit="corner")
SIZE = (120, 240)  # twice as wide: laid into a square it leaves half of it empty
STILL = Augmentation(flips=False, scale=0, light=0, pasted=0)


def picture(folder: Path, *defects: TypedDefect, level: int = 100) -> LabelledPicture:
    path = folder / f"{len(list(folder.iterdir()))}.png"
    pixels = np.random.default_rng(0).integers(level - 3, level + 4, (*SIZE, 3)).astype(np.uint8)
    for defect in defects:
        if defect.mask is not None:
            pixels[defect.mask] = 10
    Image.fromarray(pixels).save(path)
    return LabelledPicture(path, path.name, SIZE, hash_file(path), path.name, "train", defects)


def drawn(x0: int, y0: int, x1: int, y1: int) -> TypedDefect:
    mask = np.zeros(SIZE, np.bool_)
    mask[y0:y1, x0:x1] = True
    return TypedDefect("crack", (x0, y0, x1, y1), pack(mask))


def lay(one: LabelledPicture, side: int = 120):
    return lay_lesson(one, Fit(PICTURE, (side, side), SIZE), ("crack",))


def target(lesson):
    return as_target(torch.from_numpy(lesson.masks), torch.tensor(lesson.types))


def test_masks_lie_where_the_picture_does(tmp_path: Path):
    """A defect that is dark in the picture is dark in the input, where its mask is."""
    lesson = lay(picture(tmp_path, drawn(100, 40, 140, 80)))
    assert target(lesson)["boxes"].tolist() == [[50, 20, 70, 40]]
    assert lesson.pixels[lesson.masks[0] > 0].max() < 60
    assert lesson.pixels[:60][lesson.masks[0][:60] == 0].min() > 60
    assert not lesson.masks[0][60:].any()


def test_a_hairline_teaches(tmp_path: Path):
    """One px high it is half a px of the input; dropped, it would teach that nothing is there."""
    found = target(lay(picture(tmp_path, drawn(20, 60, 200, 61))))
    ((x0, y0, x1, y1),) = found["boxes"].tolist()
    assert (x0, x1) == (10, 100)
    assert y1 - y0 == 2
    assert y0 <= 30 <= y1


def test_a_bare_box_at_the_border_is_not_the_whole_part(tmp_path: Path):
    bare = TypedDefect("crack", (239.6, 3.0, 240.0, 9.0), None)
    lesson = lay(picture(tmp_path, bare))
    assert 0 < lesson.masks[0].sum() < 10


def test_what_leaves_the_input_teaches_nothing():
    masks = torch.zeros(2, 8, 8, dtype=torch.uint8)
    masks[1, 2:5, 3:7] = 1
    found = as_target(masks, torch.tensor([0, 1]))
    assert found["boxes"].tolist() == [[3, 2, 7, 5]]
    assert found["labels"].tolist() == [1]


def test_a_pasted_defect_has_the_light_of_its_place():
    rng = np.random.default_rng(0)
    dark = np.full((40, 40, 3), 60, np.uint8)
    mask = np.zeros((40, 40), np.bool_)
    mask[15:25, 15:25] = True
    dark[mask] = 30
    made = paste(np.full((80, 90, 3), 160, np.uint8), cut_piece(dark, mask, "crack"), rng)
    assert made is not None
    pixels, where = made
    assert where.sum() == 100
    assert pixels[where].mean() == pytest.approx(130, abs=2)
    assert pixels[~where].min() > 125


def test_a_piece_larger_than_the_part_is_not_pasted():
    piece = Piece("crack", np.zeros((50, 50, 3), np.uint8), np.ones((50, 50), np.bool_))
    assert paste(np.zeros((40, 60, 3), np.uint8), piece, np.random.default_rng(0)) is None


def test_defects_are_pasted_onto_the_part_and_not_beside_it(tmp_path: Path):
    """The lower half of the input is empty; the piece's own rim there must not brighten it."""
    defective = [picture(tmp_path, drawn(100, 100, 140, 118))]
    good = [picture(tmp_path, level=105)]
    always = STILL.model_copy(update={"pasted": 1.0, "good": 1.0})
    lessons = Lessons(defective, good, ("crack",), PICTURE, (120, 120), always, seed=0)
    assert len(lessons) == 2
    for _ in range(10):
        image, found = lessons[1]
        assert len(found["boxes"]) >= 1
        assert not found["masks"][:, 60:].any()
        for mask in found["masks"].bool():
            assert image[:, mask].float().mean() < 60


def test_lessons_come_from_the_pictures_as_they_were_labelled(tmp_path: Path):
    one = picture(tmp_path, drawn(100, 40, 140, 80))
    lessons = Lessons([one], [], ("crack",), PICTURE, (120, 120), STILL, seed=0)
    image, _ = lessons[0]
    fit = Fit(PICTURE, (120, 120), SIZE)
    assert (image.permute(1, 2, 0).numpy() == fit.lay(load_image(one.path))).all()
