"""Says whether a promoted bundle is worse than the one it replaced, on parts as they come then."""

import itertools
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from inspection.bench.retraining.calendar import condition_at
from inspection.bench.retraining.parts import Condition, Drawn, Store, pictures
from inspection.bundles.bundle import Bundle
from inspection.core.records import Interval
from inspection.hub.hub import Hub
from inspection.hub.wire.models import Choice
from inspection.metrics.image import auroc_interval, paired_auroc_drop

GOODS, DEFECTS = 200, 100  # of either bundle's parts
SEED = 17
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Rival:
    """A promotion, judged with the truth at hand."""

    at: datetime
    champion: float
    """Image AUROC of the bundle that was replaced."""
    challenger: float
    drop: Interval
    """Champion's minus challenger's, paired bootstrap."""

    @property
    def is_worse(self) -> bool:
        """Whether the champion was better for sure."""
        return self.drop.low > 0


def judge_rivals(
    hub: Hub, choices: tuple[Choice, ...], store: Store, cleaned_at: datetime | None
) -> tuple[Rival, ...]:
    """Judge every promotion of a month; choices newest first, as the hub lists them."""
    ordered = choices[::-1]
    return tuple(
        _judge(
            new.chosen_at,
            (hub.opened.bundle(old.bundle_id), hub.opened.bundle(new.bundle_id)),
            store,
            condition_at(new.chosen_at, cleaned_at),
        )
        for old, new in itertools.pairwise(ordered)
        if old.bundle_id != new.bundle_id
    )


def _judge(
    at: datetime, bundles: tuple[Bundle, Bundle], store: Store, condition: Condition
) -> Rival:
    rng = np.random.default_rng(SEED)
    goods = rng.permutation(len(store.goods[condition.batch]))[:GOODS]
    defects = rng.permutation(len(store.defects[condition.batch]))[:DEFECTS]
    parts = [
        [Drawn(store.goods[condition.batch][number], None) for number in goods],
        [Drawn(store.defects[condition.batch][number], "any") for number in defects],
    ]
    seen = [pictures(some, condition) for some in parts]
    old, new = ((_scores(one, seen[0]), _scores(one, seen[1])) for one in bundles)
    return Rival(
        at=at,
        champion=auroc_interval(*old, seed=SEED).value,
        challenger=auroc_interval(*new, seed=SEED).value,
        drop=paired_auroc_drop(reference=old, shipped=new, seed=SEED),
    )


def _scores(bundle: Bundle, pixels: list[NDArray[np.uint8]]) -> Scores:
    return np.array([bundle.judge(one).score for one in pixels])
