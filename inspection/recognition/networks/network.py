"""What every network of the second stage can do: learn from lessons, and be taken apart."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from inspection.detectors.layout import Layout, Picture
from inspection.detectors.regions import Regions
from inspection.recognition.samples import Target

IMAGENET_PICTURE = Picture(
    fit="corner", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)
)


@dataclass(frozen=True)
class Taken:
    """A network taken apart for export: graphs of raw outputs, and how they are read."""

    first: nn.Module
    """Takes normalised images (1, 3, H, W), gives a tuple of outputs."""
    names: tuple[str, ...]
    """Of these outputs."""
    layout: Layout
    """Of these outputs, or of what `regions` makes of them."""
    regions: Regions | None = None
    heads: dict[str, "TakenHead"] | None = None


@dataclass(frozen=True)
class TakenHead:
    """A head: takes features, regions (rows, 4) and levels (rows, L); gives a tuple."""

    module: nn.Module
    names: tuple[str, ...]


class Network(nn.Module, ABC):
    """A network that learns typed defects."""

    picture: Picture = IMAGENET_PICTURE
    draws_masks: ClassVar[bool] = False

    @abstractmethod
    def losses(self, images: Tensor, targets: list[Target]) -> dict[str, Tensor]:
        """Give what is to be made small.

        Args:
            images: float32 (B, 3, H, W), normalised.
            targets: of each.
        """

    @abstractmethod
    def take_apart(self, input_hw: tuple[int, int]) -> Taken:
        """Give the graphs of one picture of this size; the network is in evaluation then."""
