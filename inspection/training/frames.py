"""Feeds the fit split to Lightning as Anomalib batches, prepared as the station prepares parts."""

from collections.abc import Sequence

import lightning
import numpy as np
import torch
from anomalib.data import ImageBatch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from inspection.core.parts import FitTiles
from inspection.core.records import PixelNorm

GREY_LEVEL = 110.0  # mean level every image is brought to by 'per_image'; near ImageNet's own


class InputNorm(nn.Module):
    """Turns uint8 N×H×W×3 RGB into normalised float32 N×3×H×W; part of every exported graph."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, per_image: bool) -> None:
        super().__init__()
        self.per_image = per_image
        self.record = PixelNorm(
            mean=tuple(255 * value for value in mean),
            std=tuple(255 * value for value in std),
            grey_level=GREY_LEVEL if per_image else None,
        )
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean) * 255)
        self.register_buffer("std", torch.tensor(std) * 255)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalise; with `per_image` each image is first scaled to one mean grey level.

        Channels move forward last: OpenVINO then needs no copy for it.
        """
        image = pixels.float()  # (n, h, w, 3)
        if self.per_image:
            image = image * (GREY_LEVEL / (image.mean((1, 2, 3), keepdim=True) + 1))
        return ((image - self.mean) / self.std).permute(0, 3, 1, 2)


class TileDataset(Dataset[tuple[int, Tensor]]):
    """The prepared tiles of the fit split: item → (its number, uint8 H×W×3)."""

    def __init__(self, tiles: FitTiles) -> None:
        self.tiles = tiles

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, number: int) -> tuple[int, Tensor]:
        return number, torch.from_numpy(np.ascontiguousarray(self.tiles[number]))


class FitData(lightning.LightningDataModule):  # type: ignore[misc]
    """What Lightning and Anomalib's models ask for: the loaders of the fit split."""

    def __init__(
        self, tiles: FitTiles, norm: InputNorm, *, batch_size: int, seed: int, shuffle: bool
    ) -> None:
        super().__init__()
        self.dataset, self.norm = TileDataset(tiles), norm
        self.train_batch_size, self.seed, self.shuffle = batch_size, seed, shuffle

    def train_dataloader(self) -> DataLoader[tuple[int, Tensor]]:
        """Give the fit split in seeded order."""
        generator = torch.Generator().manual_seed(self.seed)
        return DataLoader(
            self.dataset,
            batch_size=self.train_batch_size,
            shuffle=self.shuffle,
            generator=generator,
            collate_fn=self._collate,
        )

    def val_dataloader(self) -> DataLoader[tuple[int, Tensor]]:
        """Give the fit split again: models that fit quantiles at the end read normals here."""
        return DataLoader(self.dataset, batch_size=self.train_batch_size, collate_fn=self._collate)

    def _collate(self, items: list[tuple[int, Tensor]]) -> ImageBatch:
        pixels = torch.stack([tile for _, tile in items])
        names = [str(index) for index, _ in items]
        labels = torch.zeros(len(items), dtype=torch.bool)
        image = self.norm(pixels)
        if self.shuffle:  # channels last, which PatchCore likes for speed, is no good to all others
            image = image.contiguous()
        return ImageBatch(image=image, gt_label=labels, image_path=names)
