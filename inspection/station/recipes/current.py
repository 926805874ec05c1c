"""What judges under one bundle name now, and what each recipe keeps whichever bundle that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from inspection.bundles.bundle import Bundle, Golden
from inspection.core.image_statistics import Reference
from inspection.core.records import Card
from inspection.station.recipes.bundle_judge import Acceptance, BundleJudge
from inspection.station.recipes.standing import Standing, rank
from inspection.station.recipes.trial import Trial
from inspection.station.state import BundleStatus

if TYPE_CHECKING:  # a station without a second stage does not load it
    from inspection.station.recipes.recognising import Recognition


@dataclass(frozen=True)
class Current:
    """The bundle of one name that judges."""

    bundle: Bundle
    since: datetime
    previous: str | None = None
    """Id of the bundle before it; none when it was the first."""
    chosen_at: datetime | None = None
    """When a person chose it at the hub; none: it was the newest."""
    previous_chosen_at: datetime | None = None
    """The same of the one before."""
    trial: Trial | None = None
    note: str = ""
    """What became of the last update."""
    waiting: Mapping[str, datetime | None] = field(default_factory=dict)
    """Copies that judged before and could not be opened at the start, for no fault known: bundle
    id → when a person chose it."""

    @property
    def rank(self) -> datetime:
        """Only a bundle that was made, or chosen by a person, later takes its place."""
        return rank(self.bundle.card.origin.created_at, self.chosen_at)

    @property
    def standing(self) -> Standing:
        """What of it is kept over a restart."""
        trial = self.trial
        return Standing(
            active=self.bundle.bundle_id,
            previous=self.previous,
            chosen_at=self.chosen_at,
            previous_chosen_at=self.previous_chosen_at,
            since=self.since,
            trial=trial is not None,
            trial_parts=trial.parts if trial else 0,
            trial_faults=trial.faults if trial else 0,
            trial_reason=trial.reason if trial else "",
            note=self.note,
        )

    def status(
        self, product: str, camera: str, judge: BundleJudge, notes: Sequence[str]
    ) -> BundleStatus:
        """Say how it stands where it judges one camera of a product."""
        band, stage = judge.band, judge.recognition
        return BundleStatus(
            product=product,
            camera=camera,
            name=self.bundle.card.name,
            bundle_id=self.bundle.bundle_id,
            review_above=band.review_above,
            reject_above=band.reject_above,
            override=judge.override,
            since=self.since,
            trial=self.trial is not None,
            note="; ".join(filter(None, (self.note, *notes))),
            statistics=self.bundle.card.statistics,
            scores=self._scores,
            detector=stage.detector.name if stage else "",
        )

    @cached_property
    def _scores(self) -> Reference | None:
        scores = self.bundle.card.calibrate_scores
        if not scores:
            return None
        return Reference(mean=float(np.mean(scores)), deviation=float(np.std(scores)))


@dataclass(frozen=True)
class Opened:
    """What one recipe keeps whichever bundle of its name judges."""

    name: str
    """Of the bundle."""
    acceptance: Acceptance | None = None
    """Its accept rules; none where it has none."""
    recognition: "Recognition | None" = None
    """What names known defects; none where nothing does."""


class Tested(NamedTuple):
    """A bundle that passed its tests here and was closed: it scores in a process of its own."""

    bundle_id: str
    folder: Path
    card: Card


def golden_of(bundle: Bundle) -> tuple[Golden, ...]:
    """Give what a bundle's golden frames were found to be."""
    return bundle.golden
