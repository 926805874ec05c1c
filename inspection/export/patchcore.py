"""Builds PatchCore's shipped graph and its FP32 reference: features, bank, search."""

from dataclasses import dataclass

import openvino

from inspection.core.imaging import Rgb
from inspection.core.parts import FitTiles
from inspection.core.settings import ExportConfig, TrainConfig
from inspection.export.bank import BankIndex, fill_bank, fit_correction
from inspection.export.graph import EXACT, Graphs, Search, add_embedding, add_search
from inspection.export.quantize import quantise


@dataclass(frozen=True)
class BankSource:
    """Where the bank comes from: its cells, the tiles they lie in, and tiles for NNCF's ranges."""

    index: BankIndex
    tiles: FitTiles
    sample: list[Rgb]


def patchcore_graphs(
    features: openvino.Model, settings: TrainConfig, config: ExportConfig, source: BankSource
) -> Graphs:
    """Quantise the features first, then fill the bank with what they give.

    Args:
        features: FP32 graph with outputs `feature.LAYER`.
        settings: of the training.
        config: of the export; `fp16` stores weights in half and computes in float32.
        source: of the bank.
    """
    exact = Search(
        pool=settings.patchcore.pool,
        layer_weights=settings.patchcore.layer_weights or (1.0,) * len(features.outputs),
        coarse=0,
        refine=config.refine_patches,
        int8=False,
    )
    embedding = add_embedding(features.clone(), exact)
    reference = add_search(embedding, fill_bank(embedding, source.index, source.tiles), exact)
    int8 = config.precision == "int8"
    lean = Search(
        pool=exact.pool,
        layer_weights=exact.layer_weights,
        coarse=config.coarse_bank,
        refine=exact.refine,
        int8=int8,
    )
    small = quantise(features, source.sample) if int8 else features
    embedding = add_embedding(small, lean)
    bank = fill_bank(embedding, source.index, source.tiles)
    correction, words = EXACT, f"bank of {len(bank):,} vectors"
    if 0 < lean.coarse < len(bank):
        correction = fit_correction(embedding, bank, source.index, source.tiles, lean.coarse)
        words += (
            f"; every patch against {lean.coarse:,} of them, corrected by {correction.offset:.3f} "
            f"+ {correction.slope:.3f} d; the worst {lean.refine} against all"
        )
    precision = "INT8 backbone and search, FP32 terms" if int8 else config.precision.upper()
    return Graphs(add_search(embedding, bank, lean, correction), reference, precision, words)
