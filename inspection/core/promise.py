"""What a bundle's thresholds promise of a part that is judged by several pictures.

A bundle promises its false-reject rate per picture. The largest score of N pictures of a good part
lies above the same threshold in up to N times as many parts, whatever the pictures have in common
(Boole), so a threshold of rate p / N keeps p per part. Where pictures are independent the rate is
1 - (1 - p / N)^N: less than p² / 2 is given away. Where they are alike, more.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from inspection.core.decision import Band
from inspection.core.errors import ConfigError
from inspection.core.records import Card

RATE_STEPS = 10**9  # rates are read as fractions of at most this denominator: 0.01 is 1/100


@dataclass(frozen=True)
class Promise:
    """The share of good parts that a band rejects or sends to review, at most, on average."""

    pictures: int
    """N, by which a part is judged."""
    target: float | None
    """Asked for, per part; none of a bundle that promises nothing."""
    rate: float
    """Kept per part: N · (n + 1 - k) / (n + 1), at most 1, where the threshold is the k-th smallest
    of n scores."""
    normals_needed: int
    """Calibrate normals with which the target could be kept, N / p - 1."""

    @property
    def kept(self) -> bool:
        """Whether the bundle has normals enough for it."""
        return self.target is not None and self.rate <= self.target * (1 + 1e-9)

    def __str__(self) -> str:
        """Say it in one line."""
        each = f"{self.pictures} pictures a part"
        if self.target is None:
            return f"{each}: this bundle promises no false-reject rate"
        if self.kept:
            return f"{each}: false rejects at most {self.rate:.3g} of good parts, as promised"
        return (
            f"{each}: false rejects at most {self.rate:.3g} of good parts, not the promised "
            f"{self.target:.3g}, for which the bundle needs {self.normals_needed} calibrate "
            "normals; export it with more, or use inspection thresholds parts on whole good parts"
        )


def exact_rate(rate: float) -> Fraction:
    """Read a rate as the fraction that was meant; binary 0.01 is a little more than 1/100.

    Raises:
        ConfigError: it is no share between 0 and 1.
    """
    if not 0 < rate < 1:  # NaN fails too
        raise ConfigError(f"false-reject rate is {rate}; wanted a share between 0 and 1")
    meant = Fraction(float(rate)).limit_denominator(RATE_STEPS)
    if not 0 < meant < 1:
        raise ConfigError(f"false-reject rate is {rate}; wanted at least {1 / RATE_STEPS:g}")
    return meant


def rank_of(normals: int, rate: Fraction) -> int:
    """Give k: the k-th smallest of n scores keeps a rate as threshold; n + 1 where none does."""
    return math.ceil((normals + 1) * (1 - rate))


def reject_above(review_above: float, scores: tuple[float, ...], margin: float) -> float:
    """Say where REJECT begins: a margin of the normals' own spread above REVIEW."""
    return review_above + margin * max(0.0, review_above - float(np.median(scores)))


def band_of_parts(card: Card, pictures: int) -> tuple[Band, Promise]:
    """Give the band that keeps a bundle's promise for parts of several pictures.

    The thresholds are the card's own for one picture, and never lower for more. Beyond the largest
    calibrate score nothing is promised, and none is guessed from a tail: where the normals are too
    few the band is the largest score's, and the promise says what that keeps. A card without its
    scores keeps its band, and so does one that promises nothing.

    Args:
        card: of the bundle.
        pictures: frames times cameras of a part, from 1.
    """
    certificate = card.certificate
    if certificate is None:
        return card.band, Promise(pictures, None, 1.0, 0)
    normals, target = certificate.normals, certificate.target
    rate = exact_rate(target) / pictures
    needed = math.ceil(1 / rate) - 1
    if pictures == 1 or len(card.calibrate_scores) != normals:
        return card.band, Promise(pictures, target, min(1.0, pictures * certificate.mean), needed)
    rank = min(max(rank_of(normals, rate), certificate.rank), normals)
    review = max(card.calibrate_scores[rank - 1], card.band.review_above)
    reject = reject_above(review, card.calibrate_scores, card.export.reject_margin)
    kept = min(1.0, pictures * (normals + 1 - rank) / (normals + 1))
    band = Band(review_above=review, reject_above=max(reject, card.band.reject_above))
    return band, Promise(pictures, target, kept, needed)
