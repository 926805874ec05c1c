"""Builds PatchCore's shipped graph and its FP32 reference: features, bank, search."""

from dataclasses import dataclass, replace

import openvino

from inspection.core.imaging import Rgb
from inspection.core.parts import FitTiles
from inspection.core.records import RunRecord
from inspection.core.settings import ExportConfig
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
    features: openvino.Model, record: RunRecord, config: ExportConfig, source: BankSource
) -> Graphs:
    """Quantise the features first, then fill the bank with what they give.

    Args:
        features: FP32 graph with outputs `feature.LAYER`.
        record: of the training.
        config: of the export; `fp16` stores weights in half and computes in float32.
        source: of the bank.
    """
    settings = record.config.patchcore
    exact = Search(
        pool=settings.pool,
        layer_weights=settings.layer_weights or (1.0,) * len(features.outputs),
        coarse=0,
        dimensions=0,
        refine=config.refine_patches,
        int8=False,
    )
    embedding = add_embedding(features.clone(), exact)
    reference = add_search(embedding, fill_bank(embedding, source.index, source.tiles), exact)
    int8 = config.precision == "int8"
    depth = embedding.output(0).get_partial_shape().to_shape()[1]
    dimensions = min(config.search_dimensions, depth // 2)  # a projection to more would not pay
    lean = replace(exact, coarse=config.coarse_bank, dimensions=dimensions, int8=int8)
    small = quantise(features, record.pixels, source.sample) if int8 else features
    embedding = add_embedding(small, lean)
    bank = fill_bank(embedding, source.index, source.tiles)
    correction, words = EXACT, f"bank of {len(bank):,} vectors"
    estimated = not lean.is_exact(bank)
    if estimated:
        correction = fit_correction(embedding, bank, source.index, source.tiles, lean)
        rough = min(lean.coarse or len(bank), len(bank))
        words += (
            f"; every patch against {rough:,} of them in {dimensions or depth} of {depth} "
            f"dimensions, corrected by {correction.offset:.3f} + {correction.slope:.3f} d; the "
            f"worst {lean.refine} against all in all"
        )
    precision = "INT8 backbone and search, FP32 terms" if int8 else config.precision.upper()
    shipped = add_search(embedding, bank, lean, correction)
    return Graphs(shipped, reference, precision, words, estimated)
