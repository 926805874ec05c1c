"""Builds PatchCore's shipped graph and its FP32 reference: features, bank, search."""

from dataclasses import dataclass, replace

import openvino

from inspection.core.parts import FitTiles
from inspection.core.settings import ExportConfig, PatchcoreConfig
from inspection.export.bank import fill_bank, fit_correction
from inspection.export.graph import (
    EXACT,
    Bank,
    BankIndex,
    Graphs,
    Search,
    add_embedding,
    add_search,
)


@dataclass(frozen=True)
class Pair:
    """Two graphs that give an embedding (1, d, h, w): of the features that ship, and of FP32's."""

    shipped: openvino.Model
    reference: openvino.Model
    search: Search
    """Exact, of every patch against the whole bank."""


def embed(features: openvino.Model, small: openvino.Model, settings: PatchcoreConfig) -> Pair:
    """Join the feature maps of both graphs, each with outputs `feature.LAYER`.

    Args:
        features: FP32; the embedding is added to it.
        small: what ships, quantised or not; likewise.
        settings: of the training.
    """
    search = Search(
        pool=settings.pool,
        layer_weights=settings.layer_weights or (1.0,) * len(features.outputs),
        coarse=0,
        dimensions=0,
        refine=1,
        int8=False,
    )
    return Pair(add_embedding(small, search), add_embedding(features, search), search)


def fill_banks(pair: Pair, index: BankIndex, tiles: FitTiles) -> Bank:
    """Read the vectors of the bank's cells from both graphs."""
    shipped, reference = (
        fill_bank(embedding, index, tiles) for embedding in (pair.shipped, pair.reference)
    )
    return Bank(index, shipped, reference)


def patchcore_graphs(pair: Pair, bank: Bank, config: ExportConfig, tiles: FitTiles) -> Graphs:
    """Add to each graph the search of its own bank.

    Args:
        pair: the embeddings; the search is added to them.
        bank: of both.
        config: of the export; `fp16` stores weights in half and computes in float32.
        tiles: that the bank comes from.
    """
    reference = add_search(pair.reference, bank.reference, pair.search)
    int8 = config.precision == "int8"
    depth = bank.shipped.shape[1]
    dimensions = min(config.search_dimensions, depth // 2)  # a projection to more would not pay
    lean = replace(
        pair.search,
        coarse=config.coarse_bank,
        dimensions=dimensions,
        refine=config.refine_patches,
        int8=int8,
    )
    correction, words = EXACT, f"bank of {len(bank):,} vectors"
    estimated = not lean.is_exact(bank.shipped)
    if estimated:
        correction = fit_correction(pair.shipped, bank.shipped, bank.index, tiles, lean)
        rough = min(lean.coarse or len(bank), len(bank))
        words += (
            f"; every patch against {rough:,} of them in {dimensions or depth} of {depth} "
            f"dimensions, corrected by {correction.offset:.3f} + {correction.slope:.3f} d; the "
            f"worst {lean.refine} against all in all"
        )
    precision = "INT8 backbone and search, FP32 terms" if int8 else config.precision.upper()
    shipped = add_search(pair.shipped, bank.shipped, lean, correction)
    return Graphs(shipped, reference, precision, words, estimated, bank)
