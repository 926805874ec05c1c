"""A bank of filters that nobody trained: what a pretrained backbone learns to compute.

Oriented energies of luminance in four octaves, and the oriented energies of those: the first two
orders of a scattering transform (Bruna and Mallat, PAMI 2013) with Gabor filters, their logarithms.
Such energies tell textures and their defects apart about as well as ImageNet's features do, but
take their time; a small network that imitates them does not.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

ORIENTATIONS, OCTAVES = 6, 4
TAPS, SIGMA_PX, WAVELENGTH_PX = 9, 1.9, 4.5
PAIRS = (0, 1), (0, 2), (1, 2), (1, 3)  # octaves of the second order: of what, and in what
FLOOR = 0.004  # of an energy, about a level of 255: below it there is only noise
# rows: luminance (BT.601), red against green, yellow against blue
OPPONENTS = (0.299, 0.587, 0.114), (0.5, -0.5, 0.0), (0.25, 0.25, -0.5)
FINE_STRIDE, COARSE_STRIDE = 8, 16


class FilterBank(nn.Module):
    """Gives the logarithms of local energies, at two strides."""

    opponents: Tensor
    gabors: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("opponents", torch.tensor(OPPONENTS)[:, :, None, None])
        self.register_buffer("gabors", gabor_pairs())

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Filter pictures.

        Args:
            pixels: float32 N×3×H×W, RGB of 0 to 1; H and W divisible by 16.

        Returns:
            N×35×H/8×W/8 of the first order, levels and colours; N×144×H/16×W/16 of the second.
        """
        opponent = functional.conv2d(pixels, self.opponents)
        light = _octaves(opponent[:, :1])
        energies = [self.energies(one) for one in light]
        fine = [_at(one, octave, FINE_STRIDE) for octave, one in enumerate(energies)]
        fine += [_at(one, octave, FINE_STRIDE) for octave, one in enumerate(_contrasts(opponent))]
        levels = functional.avg_pool2d(opponent, FINE_STRIDE)
        second = [
            _at(self.energies(_shrunk(energies[of], inner - of)), inner, COARSE_STRIDE)
            for of, inner in PAIRS
        ]
        coarse = torch.log(torch.cat(second, 1) + FLOOR / 4)
        return torch.cat((torch.log(torch.cat(fine, 1) + FLOOR), 2 * levels), 1), coarse

    def energies(self, planes: Tensor) -> Tensor:
        """Give the length of what each pair of filters answers: N×C×H×W → N×6·C×H×W."""
        count, channels, height, width = planes.shape
        flat = planes.reshape(-1, 1, height, width)
        padded = functional.pad(flat, (TAPS // 2,) * 4, mode="reflect")
        answers = functional.conv2d(padded, self.gabors).view(-1, ORIENTATIONS, 2, height, width)
        length = answers.square().sum(2).clamp_min(1e-12).sqrt()
        return length.reshape(count, channels * ORIENTATIONS, height, width)


def gabor_pairs() -> Tensor:
    """Give even and odd Gabor filters of each orientation, 12×1×9×9; no mean, length 1."""
    place = torch.arange(TAPS) - TAPS // 2
    y, x = torch.meshgrid(place, place, indexing="ij")
    envelope = torch.exp(-(x**2 + y**2) / (2 * SIGMA_PX**2))
    filters = []
    for number in range(ORIENTATIONS):
        angle = math.pi * number / ORIENTATIONS
        phase = 2 * math.pi / WAVELENGTH_PX * (x * math.cos(angle) + y * math.sin(angle))
        for wave in (torch.cos(phase), torch.sin(phase)):
            bare = envelope * (wave - (envelope * wave).sum() / envelope.sum())
            filters.append(bare / bare.norm())
    return torch.stack(filters)[:, None]


def _octaves(plane: Tensor) -> list[Tensor]:
    """Halve a plane again and again."""
    planes = [plane]
    for _ in range(OCTAVES - 1):
        planes.append(functional.avg_pool2d(planes[-1], 2))
    return planes


def _contrasts(opponent: Tensor) -> list[Tensor]:
    """Give how far each pixel's colour is from that around it, in three octaves, N×2×H×W."""
    found = []
    for plane in _octaves(opponent[:, 1:])[: OCTAVES - 1]:
        around = functional.avg_pool2d(
            functional.pad(plane, (3, 3, 3, 3), mode="reflect"), 7, stride=1
        )
        found.append((plane - around).abs())
    return found


def _shrunk(planes: Tensor, octaves: int) -> Tensor:
    return functional.avg_pool2d(planes, 2**octaves)


def _at(planes: Tensor, octave: int, stride: int) -> Tensor:
    """Average planes of an octave to a stride of the picture."""
    return functional.avg_pool2d(planes, stride // 2**octave)
