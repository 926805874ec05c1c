"""PatchCore: Anomalib's model and loop, our candidates and our coreset."""

from typing import Any

import torch
from anomalib.models import Patchcore
from torch import Tensor

from inspection.core.errors import TrainingError
from inspection.core.parts import FitTiles
from inspection.core.progress import advancing
from inspection.core.settings import TrainConfig
from inspection.training.coreset import k_center_greedy


class BankPatchcore(Patchcore):  # type: ignore[misc]
    """Anomalib's PatchCore whose bank remembers the tile and the cell each vector came from.

    After fitting, `bank_tile` and `bank_cell` (int64, one per vector) name them: tile is the number
    in `FitTiles`, cell is row · width + column of the feature map.
    """

    def __init__(self, config: TrainConfig, tiles: FitTiles) -> None:
        _require_sound(config)
        super().__init__(
            backbone=config.backbone.name,
            layers=config.backbone.layers,
            pre_processor=False,
            post_processor=False,
            evaluator=False,
            visualizer=False,
        )
        pool = config.patchcore.pool
        self.model.feature_pooler = torch.nn.AvgPool2d(pool, 1, pool // 2)
        self.config, self.tiles = config, tiles
        self.per_tile = -(-config.patchcore.candidates // len(tiles))
        self._vectors: list[Tensor] = []
        self._tiles: list[Tensor] = []
        self._cells: list[Tensor] = []
        self.bank_tile = self.bank_cell = torch.empty(0, dtype=torch.int64)

    def training_step(self, batch: Any, *_: Any, **__: Any) -> Tensor:
        """Keep a seeded random choice of the judged cells of every tile as candidates."""
        with torch.no_grad():
            features = self.model.feature_extractor(batch.image)
            pooled = {name: self.model.feature_pooler(map_) for name, map_ in features.items()}
            weighted = self._weighted(pooled)
            embedding = self.model.generate_embedding(weighted)  # (n, d, h, w)
        for vectors, name in zip(embedding, batch.image_path, strict=True):
            self._keep(vectors, int(name))
        return torch.zeros((), requires_grad=True, device=self.device)

    def _weighted(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        weights = self.config.patchcore.layer_weights or (1.0,) * len(features)
        return {
            name: map_ * weight
            for (name, map_), weight in zip(features.items(), weights, strict=True)
        }

    def _keep(self, vectors: Tensor, tile: int) -> None:
        """Keep candidates of one tile; vectors is (d, h, w)."""
        judged = self.tiles.judged_cells(tile, vectors.shape[1], vectors.shape[2])
        cells = torch.from_numpy(judged)
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + tile)
        order = torch.randperm(len(cells), generator=generator)[: self.per_tile]
        cells = cells[order]
        flat = vectors.flatten(1).T  # (h·w, d)
        self._vectors.append(flat[cells.to(flat.device)].float().cpu())
        self._tiles.append(torch.full((len(cells),), tile))
        self._cells.append(cells)

    def fit(self) -> None:
        """Select the bank from the candidates.

        Raises:
            TrainingError: fewer candidates than the bank is to hold, or a value that is not finite.
        """
        vectors, size = torch.cat(self._vectors), self.config.patchcore.bank_size
        if not torch.isfinite(vectors).all():
            raise TrainingError(
                "fit split: features are not finite; the backbone weights do not fit the model"
            )
        size = min(size, len(vectors))
        if size == 0:
            raise TrainingError("fit split: no cell is judged; widen include or narrow exclude")
        what = f"coreset: {size:,} of {len(vectors):,}"
        with advancing(size, what) as advance:
            chosen = k_center_greedy(vectors.to(self.device), size, self.config.seed, advance).cpu()
        self.bank_tile = torch.cat(self._tiles)[chosen]
        self.bank_cell = torch.cat(self._cells)[chosen]
        self.model.memory_bank = vectors[chosen]
        self._vectors, self._tiles, self._cells = [], [], []


def _require_sound(config: TrainConfig) -> None:
    """Refuse what the configuration's own model cannot see.

    Raises:
        TrainingError: Anomalib's options, or weights that do not pair with the layers.
    """
    if config.model_options:
        raise TrainingError(
            f"model_options: Patchcore takes none here, found {', '.join(config.model_options)}; "
            "its settings stand in patchcore"
        )
    weights, layers = config.patchcore.layer_weights, config.backbone.layers
    if weights is not None and len(weights) != len(layers):
        raise TrainingError(
            f"patchcore.layer_weights: found {len(weights)} for {len(layers)} layers; "
            "wanted one each"
        )
