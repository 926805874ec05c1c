from types import SimpleNamespace

import numpy as np
import pytest

from inspection.core.decision import Band
from inspection.core.promise import band_of_parts, rank_of, reject_above
from inspection.metrics.calibration import conformal_threshold

pytestmark = pytest.mark.fast
TARGET = 0.05


def card(scores: np.ndarray, target: float = TARGET) -> SimpleNamespace:
    """Make what of a card the promise is read from, fitted as export does."""
    review, certificate = conformal_threshold(scores, target)
    ascending = tuple(sorted(scores.tolist()))
    return SimpleNamespace(
        band=Band(review_above=review, reject_above=reject_above(review, ascending, 0.5)),
        certificate=certificate,
        calibrate_scores=ascending,
        export=SimpleNamespace(reject_margin=0.5),
    )


def false_rejects(frames: int, shared: float, *, corrected: bool, draws: int = 1_500) -> float:
    """Simulate calibrations and good parts; give the share of parts above the threshold.

    Args:
        frames: of a part; its score is the largest.
        shared: share of a score's variance that all frames of a part have in common.
        corrected: whether the threshold is that for so many frames.
        draws: of 199 normals each, judged on 40 parts.
    """
    rng = np.random.default_rng([frames, int(100 * shared)])
    above = []
    for _ in range(draws):
        calibrated = card(rng.gumbel(size=199))
        band = band_of_parts(calibrated, frames if corrected else 1)[0]
        part = rng.gumbel(size=(40, 1)) * np.sqrt(shared)
        scores = part + rng.gumbel(size=(40, frames)) * np.sqrt(1 - shared)
        # the marginal of a frame must be that of a calibrate normal
        if shared not in (0.0, 1.0):
            both = rng.random((40, 1)) < shared
            scores = np.where(both, rng.gumbel(size=(40, 1)), rng.gumbel(size=(40, frames)))
        above.append((scores.max(axis=1) > band.review_above).mean())
    return float(np.mean(above))


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("frames", [2, 5, 10])
def test_promise_is_kept_per_part_whatever_frames_have_in_common(frames: int, shared: float):
    """The mean over calibrations lies at the target or below, within three standard errors."""
    assert false_rejects(frames, shared, corrected=True) <= TARGET + 0.003


def test_without_correction_the_promise_is_broken():
    """Ten independent frames of 5 % each reject four good parts in ten."""
    assert false_rejects(10, 0.0, corrected=False) == pytest.approx(1 - 0.95**10, abs=0.02)


def test_independent_frames_lose_little_by_it():
    """What Boole gives away is less than half the square of the rate."""
    assert false_rejects(5, 0.0, corrected=True) >= TARGET - TARGET**2 / 2 - 0.003


def test_band_of_one_picture_is_the_cards_own_and_rises_with_their_number():
    """So a station without several frames judges as before."""
    found = card(np.random.default_rng(0).gumbel(size=999))
    bands = [band_of_parts(found, pictures)[0] for pictures in (1, 2, 8, 50)]
    assert bands[0] == found.band
    edges = [(band.review_above, band.reject_above) for band in bands]
    assert edges == sorted(edges)
    assert edges[0] < edges[1] < edges[2]


def test_too_few_normals_promise_what_they_can_and_say_so():
    """No tail is guessed: the threshold is the largest normal's, the rate what that keeps."""
    found = card(np.random.default_rng(0).gumbel(size=99))
    band, promise = band_of_parts(found, 20)
    assert band.review_above == found.calibrate_scores[-1]
    assert promise.rate == pytest.approx(20 / 100)
    assert not promise.kept
    assert promise.normals_needed == 399
    for said in ("20 pictures", "0.2 ", "0.05", "399"):
        assert said in str(promise)
    assert band_of_parts(found, 5)[1].kept


def test_rank_is_that_of_the_rate_which_was_meant():
    """A rate divided by frames stays a fraction: 1 % of 10 frames needs 999 normals, not 1000."""
    _, promise = band_of_parts(card(np.arange(999.0), 0.01), 10)
    assert (promise.normals_needed, promise.kept) == (999, True)
    assert rank_of(999, 1 - 1) == 1000
