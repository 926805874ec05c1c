"""Which thresholds a station holds parts of several frames against, and what they promise."""

from collections.abc import Callable, Mapping

from inspection.core.decision import Band
from inspection.core.promise import band_of_parts
from inspection.core.records import Card
from inspection.station.recipes.bundle_judge import BundleJudge
from inspection.station.settings import StationConfig


def card_band(card: Card, config: StationConfig, product: str) -> Band:
    """Give a bundle's own band, for parts of as many pictures as the product's have.

    A band that a person set, in the recipe or by a threshold record, is not asked for here: it
    holds for the score of a part as it stands.
    """
    return band_of_parts(card, _pictures(config, product))[0]


def promise_note(card: Card, config: StationConfig, product: str, band: Band) -> str:
    """Say what a band promises per part; nothing where a part has one frame of each camera."""
    if config.frames is None:
        return ""
    own, promise = band_of_parts(card, _pictures(config, product))
    if band != own:
        return f"{promise.pictures} pictures a part: the band is a person's, nothing is promised"
    return str(promise)


def unkept(
    config: StationConfig, judges_of: Callable[[str], Mapping[str, BundleJudge]]
) -> tuple[str, ...]:
    """Say which bundles have too few calibrate normals to keep their promise per part."""
    if config.frames is None:
        return ()
    found = [
        (judge, *band_of_parts(judge.bundle.card, _pictures(config, product)))
        for product in config.recipes
        for judge in judges_of(product).values()
    ]
    return tuple(
        f"bundle {judge.bundle.card.name}: {promise}"
        for judge, own, promise in found
        if judge.band == own and not promise.kept
    )


def judges_alone(config: StationConfig) -> bool:
    """Say whether a frame's score is its own, so that a challenger's can be compared with it."""
    return config.frames is None or not config.frames.averages


def _pictures(config: StationConfig, product: str) -> int:
    """Count what a part is judged by: its frames of every camera, where it has several."""
    return config.frames.count * len(config.recipes[product]) if config.frames else 1
