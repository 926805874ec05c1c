"""Clicks of reviewers and the masks they correct."""

import base64

import numpy as np
import pytest
from sqlalchemy import select

from inspection.bench.redness import make_bundle
from inspection.hub.asking import Refused
from inspection.hub.tables import audit, corrections
from inspection.hub.wire.people import Role
from inspection.hub.wire.review import Decision, NewCorrection, NewReview, Outline
from tests.hub.bundles import encode
from tests.hub.conftest import served
from tests.hub.test_looks import decoded, judged

SIZE_HW = 60, 120


def spotted() -> bytes:
    """Give the PNG of a part with a bright disc around (80, 30)."""
    pixels = np.full((*SIZE_HW, 3), (40, 60, 80), np.uint8)
    pixels += np.random.default_rng(0).integers(0, 8, pixels.shape, np.uint8)
    rows, columns = np.ogrid[: SIZE_HW[0], : SIZE_HW[1]]
    pixels[(rows - 30) ** 2 + (columns - 80) ** 2 < 100] = (250, 200, 20)
    return encode(pixels)


def mask_of(column: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """Give a mask, 255 from a column on."""
    mask = np.zeros(size_hw, np.uint8)
    mask[:, column:] = 255
    return mask


def text(encoded: bytes) -> str:
    """Give base64."""
    return base64.b64encode(encoded).decode()


def new(column: int, revision: int, **changes) -> NewCorrection:
    """Make a correction of the frame."""
    values = {"camera": "main", "mask": text(encode(mask_of(column))), "revision": revision}
    return NewCorrection.model_validate(values | changes)


@pytest.fixture
def part(sqlite_plant, tmp_path) -> str:
    """The event of a part with a disc."""
    return judged(sqlite_plant, make_bundle(tmp_path / "bundle"), spotted())


def test_clicks_outline_the_defect(sqlite_plant, part):
    reviewer = sqlite_plant.person(Role.REVIEWER)
    clicks = Outline(camera="main", positive=((80, 30),), negative=((20, 30),))
    outlined = reviewer.outline(part, clicks)
    mask = decoded(outlined.mask)
    assert mask.shape == SIZE_HW
    assert (mask[30, 80], mask[30, 20]) == (255, 0)
    assert outlined.area_px == np.count_nonzero(mask)
    assert "(shipped, " in outlined.segmenter


def test_clicks_that_do_not_fit_are_refused(sqlite_plant, part):
    reviewer = sqlite_plant.person(Role.REVIEWER)
    for clicks, why in (
        ({}, "click on the defect"),
        ({"positive": ((200, 30),)}, "outside"),
        ({"box": (-900_000, 0, -800_000, 1)}, "no area"),
    ):
        with pytest.raises(Refused, match=why) as refused:
            reviewer.outline(part, Outline(camera="main", **clicks))
        assert refused.value.status == 422


def test_a_corrected_mask_is_shown_from_then_on(plant, tmp_path):
    part = judged(plant, make_bundle(tmp_path / "bundle"), spotted())
    reviewer = plant.person(Role.REVIEWER, "rita")
    first = reviewer.correct(part, new(70, 0, defect="disc"))
    assert (first.revision, first.reviewer, first.defect) == (1, "rita", "disc")
    assert reviewer.correct(part, new(90, 1)).revision == 2
    look = reviewer.look(part, "main")
    assert (look.corrected_by, look.correction, look.segmenter) == ("rita", 2, "")
    assert np.array_equal(decoded(look.refined), mask_of(90))
    with plant.hub.database.reading() as connection:
        log = select(audit.c.actor).where(audit.c.action == "mask correct")
        assert connection.execute(log).scalars().all() == ["rita", "rita"]


def test_two_reviewers_do_not_overwrite_each_other(plant, tmp_path):
    part = judged(plant, make_bundle(tmp_path / "bundle"), spotted())
    rita, bob = (plant.person(Role.REVIEWER, name) for name in ("rita", "bob"))
    rita.correct(part, new(70, 0))
    with pytest.raises(Refused, match="'rita' corrected the mask of camera 'main'") as refused:
        bob.correct(part, new(90, 0))
    assert refused.value.status == 409
    assert np.array_equal(decoded(bob.look(part, "main").refined), mask_of(70))


def test_a_mask_does_not_tell_a_blind_second_reviewer_what_was_decided(
    make_hub, sqlite_url, tmp_path
):
    with served(make_hub(sqlite_url, review={"second_share": 1.0})) as plant:
        part = judged(plant, make_bundle(tmp_path / "bundle"), spotted())
        rita, bob = (plant.person(Role.REVIEWER, name) for name in ("rita", "bob"))
        rita.correct(part, new(70, 0))
        rita.review(part, NewReview(decision=Decision.DEFECT, revision=0))
        assert rita.look(part, "main").corrected_by == "rita"
        blind = bob.look(part, "main")
        assert (blind.corrected_by, blind.correction) == (None, 0)
        assert not np.array_equal(decoded(blind.refined), mask_of(70))
        bob.review(part, NewReview(decision=Decision.DEFECT, revision=0, second=True))
        assert bob.look(part, "main").corrected_by == "rita"


def test_what_is_no_mask_of_the_picture_is_refused(sqlite_plant, part):
    reviewer = sqlite_plant.person(Role.REVIEWER)
    for mask, why in (
        ("no base64!", "not base64"),
        (text(b"<html></html>"), "not an image file"),
        (text(encode(mask_of(9), "JPEG")), "image/jpeg of mode L"),
        (text(encode(np.zeros((*SIZE_HW, 3), np.uint8))), "mode RGB"),
        (text(encode(np.zeros(SIZE_HW, np.uint16))), "mode I;16"),
        (text(encode(mask_of(9, SIZE_HW[::-1]))), "120×60 px; wanted"),
        (text(encode(mask_of(9))[:-30]), "cannot be decoded"),
    ):
        with pytest.raises(Refused, match=why) as refused:
            reviewer.correct(part, new(0, 0, mask=mask))
        assert refused.value.status == 422
    with sqlite_plant.hub.database.reading() as connection:
        assert connection.execute(select(corrections)).all() == []


def test_viewers_look_only(sqlite_plant, part):
    viewer = sqlite_plant.person(Role.VIEWER)
    for ask in (
        lambda: viewer.outline(part, Outline(camera="main", positive=((80, 30),))),
        lambda: viewer.correct(part, new(70, 0)),
    ):
        with pytest.raises(Refused, match="needs reviewer"):
            ask()
