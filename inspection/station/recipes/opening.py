"""Opens the bundles of a station at its start, and any bundle that is to judge there."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from inspection.bundles.bundle import GOLDEN_TOLERANCE, Bundle, open_bundle, read_signed_card
from inspection.bundles.graph import Compiling
from inspection.bundles.seal import SUMS, verify_bundle
from inspection.core.errors import BundleError, BundleUnavailable, ConfigError, StationError
from inspection.station.clock import SYSTEM_CLOCK, Clock
from inspection.station.recipes.bundle_judge import Acceptance
from inspection.station.recipes.current import Current, Opened
from inspection.station.recipes.recipes import Recipes
from inspection.station.recipes.standing import COPIES, Standing, Standings, rank, read_standings
from inspection.station.recipes.thresholds import read_records
from inspection.station.recipes.trial import Trial
from inspection.station.selftest import selftest
from inspection.station.settings import StationConfig

if TYPE_CHECKING:
    from inspection.station.recipes.recognising import Recognition

MOST_ATTEMPTS = 3  # at a bundle, none of which came to a part judged with it
FATAL = f"tried {MOST_ATTEMPTS} times, and no part was judged; look at the log of each time"
logger = logging.getLogger(__name__)


def open_recipes(
    config: StationConfig, clock: Clock = SYSTEM_CLOCK, *, at_desk: bool = False
) -> Recipes:
    """Open every bundle that is in force, each once; what came by an update earlier stays.

    Where that cannot be opened any more, or does not pass the start-of-shift check and the one
    before does, the bundle before it judges, then the configured one. The threshold records a
    station follows are in force. Nothing is written, so that a running station may be looked at.

    Args:
        config: the station's configuration.
        clock: of what follows.
        at_desk: no line waits, so a detector may take longer than its budget.

    Raises:
        BundleError: a configured folder holds no bundle or one that no trusted key signed, two
            bundles of one name differ, none of a name can be opened, this CPU does not compute the
            golden maps, the segmenter of a recipe with accept rules cannot be opened, or a detector
            cannot be or is not as it is used.
        StationError: a disk, a share or the memory refuses now, so another start may succeed.
    """
    try:
        return _open_recipes(config, clock, at_desk=at_desk)
    except BundleUnavailable as error:
        raise StationError(str(error)) from error


def _open_recipes(config: StationConfig, clock: Clock, *, at_desk: bool) -> Recipes:
    folders = _folders(config)
    acceptances = _open_acceptances(config)
    recognitions = _open_recognitions(config, at_desk=at_desk)
    opened = {
        (product, camera): Opened(
            next(name for name, same in folders.items() if recipe.bundle in same),
            acceptances.get((product, camera)),
            recognitions.get((product, camera)),
        )
        for product, cameras in config.recipes.items()
        for camera, recipe in cameras.items()
    }
    standings = read_standings(config.data_dir)
    fatal = {
        name: standing.active
        for name, standing in standings.bundles.items()
        if standing.trial and standings.attempts.get(standing.active, 0) >= MOST_ATTEMPTS
    }
    refused = standings.refused | dict.fromkeys(fatal.values(), FATAL)
    standings = standings.model_copy(update={"refused": refused})
    in_force = {
        name: _open(config, name, same[0], standings, clock) for name, same in folders.items()
    }
    configured = frozenset(read_signed_card(o[0], config.keys)[0] for o in folders.values())
    _require_limits(config)
    recipes = Recipes(config, opened, in_force, configured, standings, clock)
    for name in fatal.keys() & in_force.keys():
        recipes.refuse(name, fatal[name], FATAL)
    read_records(config, recipes)
    for name, same in folders.items():
        _fall_back(config, recipes, name, same[0], standings, clock)
    _warn_of_unmeasured_places(recipes, opened)
    return recipes


def _require_limits(config: StationConfig) -> None:
    """Refuse thresholds of a recipe that lie beyond the limits of its bundle's card."""
    for product, camera in config.places:
        recipe = config.recipes[product][camera]
        if recipe.band is None:
            continue
        _, card = read_signed_card(recipe.bundle, config.keys)
        if exceeded := card.threshold_limits.exceeded_by(recipe.band):
            raise ConfigError(
                f"recipes.{product}.{camera}.band: {exceeded}; choose thresholds within them, or "
                "use a threshold record that a second person approved"
            )


def _warn_of_unmeasured_places(recipes: Recipes, opened: Mapping[tuple[str, str], Opened]) -> None:
    """Say which bundles with accept rules are older than `Geometry.map_shift`."""
    in_force = recipes.in_force()
    for name in sorted({one.name for one in opened.values() if one.acceptance}):
        bundle = in_force[name].bundle
        if "map_shift" not in bundle.card.geometry.model_fields_set:
            reason = (
                f"{bundle.path}: made before its map's place was measured, so outlines may lie "
                "beside defects; export it again"
            )
            logger.warning("accept rules may measure beside defects", extra={"reason": reason})


def _fall_back(
    config: StationConfig,
    recipes: Recipes,
    name: str,
    configured: Path,
    standings: Standings,
    clock: Clock,
) -> None:
    """Give up a bundle that came by an update and fails the check which one before it passes."""
    refused: dict[str, str] = {}
    now = recipes.in_force()[name]
    while now.bundle.path != configured:
        failed = selftest(recipes.examined({name: now.bundle}), config.guards).failed
        if not failed:
            break
        refused[now.bundle.bundle_id] = "; ".join(map(str, failed))
        rest = standings.model_copy(update={"refused": standings.refused | refused})
        now = _open(config, name, configured, rest, clock)
    if refused and selftest(recipes.examined({name: now.bundle}), config.guards).passed:
        recipes.fall_back(name, now, refused)


def _folders(config: StationConfig) -> dict[str, list[Path]]:
    """Give the configured folders of each bundle name; several are copies of one bundle."""
    named: dict[str, list[Path]] = {}
    ids: dict[str, set[str]] = {}
    for cameras in config.recipes.values():
        for recipe in cameras.values():
            if not (recipe.bundle / SUMS).is_file():
                verify_bundle(recipe.bundle)  # says best what is wrong
            bundle_id, card = read_signed_card(recipe.bundle, config.keys)
            named.setdefault(card.name, []).append(recipe.bundle)
            ids.setdefault(card.name, set()).add(bundle_id)
    for name, same in named.items():
        if len(ids[name]) > 1:
            raise BundleError(
                f"{', '.join(map(str, same))}: different bundles of one name, '{name}'; an update "
                "could not tell them apart; export one under another name"
            )
    return named


def _open_acceptances(config: StationConfig) -> dict[tuple[str, str], Acceptance]:
    """Open the segmenter of every recipe with accept rules, once for all that name the same."""
    ruled = {
        (product, camera): recipe
        for product, cameras in config.recipes.items()
        for camera, recipe in cameras.items()
        if recipe.accept
    }
    if not ruled:
        return {}
    # a station without accept rules loads nothing of it
    from inspection.masks.opening import open_segmenter
    from inspection.masks.refine import Refiner
    from inspection.masks.segmenter import warm_up

    folders = {recipe.refine.segmenter for recipe in ruled.values()}
    compiling = Compiling(threads=config.inference.threads)
    segmenters = {folder: open_segmenter(folder, compiling) for folder in folders}
    for segmenter in segmenters.values():
        warm_up(segmenter)
        logger.info("accept rules outline by %s", segmenter.name)
    return {
        place: Acceptance(
            recipe.accept,
            Refiner(segmenters[recipe.refine.segmenter], recipe.refine),
            recipe.mm_per_px,
        )
        for place, recipe in ruled.items()
    }


def _open_recognitions(
    config: StationConfig, *, at_desk: bool
) -> "Mapping[tuple[str, str], Recognition]":
    """Open the detector of every recipe that has one; a station without loads nothing of it."""
    if not any(config.recognition_of(*place) for place in config.places):
        return {}
    from inspection.station.recipes.recognising import open_recognitions

    return open_recognitions(config, at_desk=at_desk)


def _open(
    config: StationConfig, name: str, configured: Path, standings: Standings, clock: Clock
) -> Current:
    """Open what judges under a name and, if it is on trial, the bundle that may return."""
    standing = standings.bundles.get(name)
    copies = [
        config.data_dir / COPIES / bundle_id
        for bundle_id in ((standing.active, standing.previous) if standing else ())
        if bundle_id and bundle_id not in standings.refused
    ]
    chosen = _chosen(standing) if standing else {}
    errors: dict[Path, BundleError] = {}
    oldest = read_signed_card(configured, config.keys)[1].origin.created_at
    opened = (
        bundle
        for bundle in _openable(config, [*filter(Path.is_dir, copies), configured], errors)
        if bundle.path == configured
        or rank(bundle.card.origin.created_at, chosen.get(bundle.bundle_id)) >= oldest
    )
    bundle = next(opened, None)
    passing = [path for path, error in errors.items() if isinstance(error, BundleUnavailable)]
    if bundle is None:
        raise errors[passing[0] if passing else configured]
    note = "; ".join(map(str, errors.values()))
    if standing is None or bundle.bundle_id != standing.active:
        waiting = {path.name: chosen.get(path.name) for path in passing}
        chosen_at = chosen.get(bundle.bundle_id)
        return Current(bundle, clock.now(), chosen_at=chosen_at, note=note, waiting=waiting)
    before = next(opened, None) if standing.trial else None
    return Current(
        bundle,
        standing.since,
        previous=standing.previous,
        chosen_at=standing.chosen_at,
        previous_chosen_at=standing.previous_chosen_at,
        trial=_trial(standing, before) if before else None,
        note=note or standing.note,
    )


def _chosen(standing: Standing) -> dict[str, datetime | None]:
    """Give when a person chose the bundle that judged last, and the one before it."""
    before = {standing.previous: standing.previous_chosen_at} if standing.previous else {}
    return {**before, standing.active: standing.chosen_at}


def _trial(standing: Standing, before: Bundle) -> Trial:
    """Go on with a trial where the last process left it."""
    return Trial(before, standing.trial_parts, standing.trial_faults, standing.trial_reason)


def _openable(
    config: StationConfig, folders: Iterable[Path], errors: dict[Path, BundleError]
) -> Iterator[Bundle]:
    """Open folder after folder; what cannot be opened is logged and added to `errors`."""
    for folder in folders:
        try:
            bundle = open_tested(folder, config)
        except BundleError as error:
            errors[folder] = error
            logger.error("bundle cannot be opened", extra={"reason": str(error)})  # noqa: TRY400 - the reason suffices
        else:
            yield bundle


def open_tested(folder: Path, config: StationConfig, *, gently: bool = False) -> Bundle:
    """Open a bundle and see that this CPU computes the maps its thresholds belong to.

    Args:
        folder: the bundle's.
        config: the station's configuration.
        gently: parts are under way.

    Raises:
        BundleCorrupt, BundleUnavailable, GateRefused: as for `open_bundle`.
        BundleError: it cannot be opened, or its golden maps come out otherwise.
    """
    inference = config.inference
    compiling = Compiling(inference.mode, inference.threads, gently)
    bundle = open_bundle(folder, trusted_keys=config.keys, compiling=compiling)
    wrong = _wrong(bundle)
    if wrong:
        raise BundleError(
            f"{folder}: this CPU computes {len(wrong)} of {len(bundle.card.golden)} golden maps "
            f"otherwise, by up to {max(wrong):.1%} of their largest value; wanted at most "
            f"{GOLDEN_TOLERANCE:.0%}; use a CPU with VNNI, or export with precision fp16"
        )
    return bundle


def _wrong(bundle: Bundle) -> list[float]:
    """Give how far every golden map is off that is not reproduced, relative to its maximum."""
    return [golden.difference for golden in bundle.golden if not golden.reproduced]
