"""Divides reviewed good parts into what is fitted, what calibrates and what is held back.

After a change of the material good parts of since then alone set the thresholds as soon as they
suffice for the promised rate, and more of them calibrate until they do: what a mixture of all looks
of the past promises, none of them keeps. The older ones still tell the guards what a part may look
like.
"""

from collections.abc import Collection, Iterable, Mapping

from scipy import stats

from inspection.core.records import ManifestEntry, Split
from inspection.data.split import SplitRule, choose_split
from inspection.metrics.calibration import normals_needed

RULE = SplitRule()  # what it calls test is what is held back
SINCE = SplitRule(calibrate_share=0.4)  # while parts of since a change do not suffice by `RULE`


def is_held_back(entry: ManifestEntry) -> bool:
    """Say whether a good part is kept to compare bundles on, whatever changes on the line."""
    return choose_split(entry.group, RULE, tested=True) is Split.TEST


def divide(
    taught: Iterable[ManifestEntry], since: Collection[str], rate: float
) -> tuple[list[ManifestEntry], set[str]]:
    """Divide good parts that are not held back into fit and calibrate.

    Args:
        taught: them.
        since: sha256 of what is of since the last change of the material.
        rate: false-reject rate to promise.

    Returns:
        Them, and the sha256 of those that alone set thresholds: none where too few are of since a
        change, or there was no change.
    """
    taught, needed = tuple(taught), normals_needed(rate)
    for rule in (RULE, SINCE):
        learnt = [_placed(one, rule if one.sha256 in since else RULE) for one in taught]
        calibrate = {one.sha256 for one in learnt if one.split is Split.CALIBRATE}
        fresh = calibrate.intersection(since)
        if len(fresh) >= needed:
            return learnt, fresh
    return learnt, set()


def outdate(entries: Iterable[ManifestEntry], fresh: Collection[str]) -> list[ManifestEntry]:
    """Mark what sets no threshold: of calibrate all but the fresh ones, where there are some."""
    return [
        one.model_copy(update={"outdated": True})
        if fresh and one.split is Split.CALIBRATE and one.sha256 not in fresh
        else one
        for one in entries
    ]


def for_guards(
    entries: Iterable[ManifestEntry], known: Mapping[str, ManifestEntry]
) -> list[ManifestEntry]:
    """Leave good parts where a bundle has them; what it has not only shows what parts look like.

    Args:
        entries: good parts that are not for test.
        known: those of the bundle's own set, by sha256.
    """
    return [
        one.model_copy(
            update={
                "split": known[one.sha256].split if one.sha256 in known else Split.CALIBRATE,
                "outdated": one.sha256 not in known or known[one.sha256].outdated,
            }
        )
        for one in entries
    ]


def reviews_needed(rate: float) -> int:
    """Give how many good parts of a new material suffice, nine times in ten, to promise a rate.

    Of them `SINCE` leaves enough to calibrate; how many that takes is negative binomial.
    """
    needed = normals_needed(rate)
    return needed + int(stats.nbinom.ppf(0.9, needed, SINCE.calibrate_share))


def _placed(entry: ManifestEntry, rule: SplitRule) -> ManifestEntry:
    return entry.model_copy(update={"split": choose_split(entry.group, rule, tested=True)})
