"""Lays out what may make a champion faster, the cheapest to make first; makes and measures nothing.

A greedy coreset's beginning is itself a coreset, so a smaller bank needs no new fit. What follows
is fitted anew, with a bank as large as the champion's, which the search makes nearly free; a
smaller input has a small bank, too, where that is not enough. Student networks stand there twice:
with the weights they begin with, which says how fast they are, and taught, which takes minutes and
is done only where that was fast enough, for the larger of two inputs.
"""

from collections.abc import Iterator, Sequence

from pydantic import Field, StrictBool, StrictInt

from inspection.core.config import Settings
from inspection.core.settings import BackboneConfig, ExportConfig, TrainConfig
from inspection.networks.formulanet import HALF, NAME

SMALL_BANK = 2_048
COARSE_BANK, REFINED = 1_024, 32  # of a cheaper search; fewer dimensions spoil the map (LOG)
STEP_PX, LEAST_PX = 16, 32  # of inputs: cells of the coarsest layer; Geometry takes no less


class Rung(Settings):
    """One way to make the champion faster."""

    name: str
    how: str = Field(description="what of the champion is changed, in words")
    export: ExportConfig
    bank: StrictInt | None = Field(None, description="the first so many vectors of its bank")
    train: TrainConfig | None = Field(None, description="fitted anew; none takes its run")
    student: StrictBool = Field(default=False, description="weights of the backbone are made")
    taught: StrictBool = Field(default=False, description="by the champion; else only pruned")
    after: str | None = Field(None, description="rung that must be fast enough first")
    unless: str | None = Field(None, description="rung that must be made and too slow")


def champion_rung(export: ExportConfig) -> Rung:
    """Give what all others are held against."""
    return Rung(name="champion", how="as it was trained", export=export)


def lay_ladder(
    config: TrainConfig, layers: Sequence[str], export: ExportConfig
) -> tuple[Rung, ...]:
    """List the ways to make a champion faster.

    Args:
        config: of its training.
        layers: of a student that can learn its features; () where it is no PatchCore.
        export: what it ships as.
    """
    if not layers:
        return tuple(_inputs(config, export, small_bank=False))
    cheap = export.model_copy(
        update={
            "coarse_bank": min(export.coarse_bank or COARSE_BANK, COARSE_BANK),
            "refine_patches": min(export.refine_patches, REFINED),
        }
    )
    how = (
        f"every patch against {cheap.coarse_bank:,} vectors, "
        f"{cheap.refine_patches} patches against all"
    )
    rungs = [Rung(name="search", how=how, export=cheap)]
    small_bank = config.patchcore.bank_size > SMALL_BANK
    if small_bank:
        how = f"the first {SMALL_BANK:,} vectors of its bank, and that search"
        rungs.append(Rung(name="bank", how=how, export=cheap, bank=SMALL_BANK))
    if len(config.backbone.layers) > 1:
        rungs.append(_cut(config, cheap))
    inputs = _inputs(config, cheap, small_bank=small_bank)
    return *rungs, *inputs, *_students(config, cheap, layers)


def _cut(config: TrainConfig, export: ExportConfig) -> Rung:
    """End the network before its coarsest layer."""
    *kept, dropped = config.backbone.layers
    weights = config.patchcore.layer_weights
    cut = _changed(
        config,
        backbone={"layers": tuple(kept)},
        patchcore={"layer_weights": weights[:-1] if weights else None},
    )
    return Rung(name="cut", how=f"without {dropped} and all behind it", export=export, train=cut)


def _inputs(config: TrainConfig, export: ExportConfig, *, small_bank: bool) -> Iterator[Rung]:
    """Give smaller inputs, each with a bank as large as the champion's, and a small one."""
    laid = {_size(config)}
    for share in (75, 62, 56, 50):
        train = _sized(config, share)
        if train is None or _size(train) in laid:
            continue
        laid.add(_size(train))
        name, how = f"input-{share}", f"input of {_size(train)}"
        yield Rung(name=name, how=how, export=export, train=train)
        if small_bank:
            train = _changed(train, patchcore={"bank_size": SMALL_BANK})
            how = f"{how}, {SMALL_BANK:,} vectors in its bank"
            yield Rung(name=f"{name}-bank", how=how, export=export, train=train, unless=name)


def _students(config: TrainConfig, export: ExportConfig, layers: Sequence[str]) -> Iterator[Rung]:
    """Give the smaller networks of our own, with first weights, then taught."""
    smaller = {NAME: (HALF,), HALF: ()}.get(config.backbone.name, (NAME, HALF))
    untaught = [
        _student(_swapped(sized, name, layers), export, f"{name}-{share}")
        for name in smaller
        for share in (100, 75)
        if (sized := config if share == 100 else _sized(config, share))
    ]
    yield from untaught
    for rung in untaught:
        network, _, share = rung.name.rpartition("-")
        yield rung.model_copy(
            update={
                "name": f"{rung.name}-taught",
                "how": f"{rung.how}, taught by the champion",
                "student": True,
                "taught": True,
                "after": rung.name,
                "unless": None if share == "100" else f"{network}-100",
            }
        )


def _student(train: TrainConfig, export: ExportConfig, name: str) -> Rung:
    pruned = train.backbone.name == HALF
    network = f"{NAME} pruned to half of its channels" if pruned else NAME
    how = f"{network}, input of {_size(train)}"
    return Rung(name=name, how=how, export=export, train=train, student=pruned)


def _swapped(config: TrainConfig, name: str, layers: Sequence[str]) -> TrainConfig:
    """Put another network in; its layers weigh alike, for a student learns them weighed."""
    backbone = BackboneConfig(name=name, layers=tuple(layers), normalise=config.backbone.normalise)
    config = config.model_copy(update={"backbone": backbone})
    return _changed(config, patchcore={"layer_weights": None})


def _sized(config: TrainConfig, share: int) -> TrainConfig | None:
    """Give a share of the input, in whole cells; smoothing keeps its reach on the part.

    Returns:
        None where that is no smaller.
    """
    geometry = config.geometry
    height, width = (
        max(LEAST_PX, round(side * share / 100 / STEP_PX) * STEP_PX)
        for side in (geometry.height_px, geometry.width_px)
    )
    if height >= geometry.height_px or width >= geometry.width_px:
        return None
    sigma = config.score.smooth_sigma * height / geometry.height_px
    return _changed(
        config,
        geometry={"height_px": height, "width_px": width},
        score={"smooth_sigma": round(sigma, 3)},
    )


def _size(config: TrainConfig) -> str:
    return f"{config.geometry.height_px}×{config.geometry.width_px} px"


def _changed(config: TrainConfig, **parts: dict[str, object]) -> TrainConfig:
    """Change keys of some parts of a configuration."""
    changed = {
        name: getattr(config, name).model_copy(update=values) for name, values in parts.items()
    }
    return config.model_copy(update=changed)
