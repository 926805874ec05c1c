"""Says which threshold records hold where, of a line's records, the newest first; pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from inspection.bundles.thresholds import ThresholdRecord
from inspection.core.decision import Band
from inspection.hub.challengers import POLICY


class Made(Protocol):
    """A record, and the stations it was made for."""

    @property
    def sha256(self) -> str: ...  # noqa: D102 - hash of its text
    @property
    def record(self) -> ThresholdRecord: ...  # noqa: D102 - as signed
    @property
    def origin(self) -> ThresholdRecord: ...  # noqa: D102 - who set its band, maybe of a bundle before
    @property
    def stations(self) -> frozenset[str]: ...  # noqa: D102 - names


class ByHand(NamedTuple):
    """Where a band is in force that a person set, for some frames of a product at least."""

    stations: frozenset[str]
    camera: frozenset[str]
    """Those of them where it is for one camera only."""
    of: int
    """Stations in service on the line."""

    @property
    def mostly(self) -> bool:
        """It is the line's, not a trial: more than half of the stations have one."""
        return 2 * len(self.stations) > self.of


def hold(
    made: Iterable[Made], bundle_id: str, product: str | None
) -> Iterator[tuple[Made, frozenset[str]]]:
    """Give a bundle's records with the stations where each is in force for the product's frames.

    Without a product they are those for any, as if it were one.
    """
    newer: defaultdict[str | None, frozenset[str]] = defaultdict(frozenset)
    for one in made:
        record = one.record
        if record.bundle_id == bundle_id and meets(record.product, product):
            yield one, one.stations - newer[None] - newer[record.camera]
            newer[record.camera] |= one.stations


def of_line(
    made: Iterable[Made], active: frozenset[str], bundle_id: str, product: str | None
) -> ThresholdRecord | None:
    """Give the newest record of the band that most of the active stations have; none: the card's.

    Of equals it is the older one, for the newer is tried. Records for one camera do not count. Of a
    band that was taken over the origin is given.
    """
    newest: dict[Band, ThresholdRecord] = {}
    having: Counter[Band] = Counter()
    for one, where in hold(made, bundle_id, product):
        if one.record.camera is None and where & active:
            newest.setdefault(one.record.band, one.origin)
            having[one.record.band] += len(where & active)
    most = max(having.values(), default=0)
    if most <= len(active) - having.total():
        return None
    return next(newest[band] for band in reversed(newest) if having[band] == most)


def by_hand(
    made: Iterable[Made], active: frozenset[str], bundle_id: str, product: str | None
) -> ByHand:
    """Say on which of the active stations a person's band is in force."""
    stations, camera = set[str](), set[str]()
    for one, where in hold(made, bundle_id, product):
        if one.origin.who != POLICY:
            stations |= where & active
            camera |= where & active if one.record.camera is not None else frozenset()
    return ByHand(frozenset(stations), frozenset(camera), len(active))


def set_by_hand_since(
    made: Iterable[Made], bundle_id: str, product: str | None, since: datetime
) -> ThresholdRecord | None:
    """Give the newest record that a person made for any of these frames since a time."""
    return next(
        (
            one.origin
            for one in made
            if one.record.bundle_id == bundle_id
            and meets(one.record.product, product)
            and one.origin.who != POLICY
            and one.origin.when > since
        ),
        None,
    )


def before(
    made: Sequence[Made], scope: tuple[str, str | None, str | None], wanted: frozenset[str]
) -> str | None:
    """Name the newest record that any of the stations has for these frames.

    It is for all cameras, or for the same one: what one camera had is nothing for the others.
    """
    bundle_id, product, camera = scope
    return next(
        (
            one.sha256
            for one in made
            if one.stations & wanted
            and one.record.bundle_id == bundle_id
            and meets(one.record.product, product)
            and one.record.camera in {None, camera}
        ),
        None,
    )


def meets(one: str | None, other: str | None) -> bool:
    """Say whether there are parts of both; none is every product."""
    return one is None or other is None or one == other
