"""The filter bank, and the directions that its answers are turned to."""

import math

import pytest
import torch

from inspection.pretraining.filters import (
    FLOOR,
    OCTAVES,
    ORIENTATIONS,
    WAVELENGTH_PX,
    FilterBank,
    gabor_pairs,
)
from inspection.pretraining.targets import fit_directions

pytestmark = pytest.mark.fast
SIDE_PX = 128


def grating(wavelength_px: float, angle: float) -> torch.Tensor:
    """A grey wave that runs along a direction, 1×3×H×W."""
    y, x = torch.meshgrid(torch.arange(SIDE_PX), torch.arange(SIDE_PX), indexing="ij")
    phase = 2 * math.pi / wavelength_px * (x * math.cos(angle) + y * math.sin(angle))
    return (0.5 + 0.3 * torch.sin(phase)).expand(1, 3, -1, -1)


def test_filters_have_no_mean_and_length_1():
    filters = gabor_pairs()
    assert filters.sum((1, 2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(filters.square().sum((1, 2, 3)), torch.ones(len(filters)))


@pytest.mark.parametrize("octave", range(OCTAVES - 1))
@pytest.mark.parametrize("orientation", range(ORIENTATIONS))
def test_a_grating_excites_its_own_octave_and_orientation_most(octave, orientation):
    wave = grating(WAVELENGTH_PX * 2**octave, math.pi * orientation / ORIENTATIONS)
    fine, _ = FilterBank()(wave)
    inside = fine[0, : OCTAVES * ORIENTATIONS, 4:-4, 4:-4].mean((1, 2))
    assert inside.argmax() == octave * ORIENTATIONS + orientation


def test_a_flat_picture_has_no_energy_but_its_level():
    fine, coarse = FilterBank()(torch.full((1, 3, 64, 64), 0.4))
    quiet = torch.full((1, 30, 8, 8), math.log(FLOOR))
    torch.testing.assert_close(fine[:, :-3], quiet, atol=2e-3, rtol=0)
    torch.testing.assert_close(fine[:, -3], torch.full((1, 8, 8), 0.8))
    quiet = torch.full((1, 144, 4, 4), math.log(FLOOR / 4))
    torch.testing.assert_close(coarse, quiet, atol=2e-3, rtol=0)


def test_a_texture_of_textures_shows_in_the_second_order():
    """Two pictures of the same energies, in one of them in broad bands."""
    fine_wave = grating(WAVELENGTH_PX, 0) - 0.5
    bands = torch.sin(2 * math.pi * torch.arange(SIDE_PX) / (WAVELENGTH_PX * 4))[:, None]
    even, banded = 0.5 + fine_wave / math.sqrt(2), 0.5 + fine_wave * bands
    bank = FilterBank()
    (first, second), (first_banded, second_banded) = bank(even), bank(banded)
    changed = (first_banded - first)[:, :6, 4:-4, 4:-4].mean()  # in the finest octave
    assert (second_banded - second).mean((0, 2, 3)).max() > 2 * changed.abs()


def test_directions_even_out_what_varies_and_vary_alike():
    """Of deviations 4, 2, 1 and next to none are kept 2, √2, 1 and none; eight bits suit each."""
    torch.manual_seed(0)
    turn = torch.linalg.qr(torch.randn(6, 6)).Q
    deviations = torch.tensor([4.0, 2.0, 1.0, 1e-3, 0, 0])[:, None, None]
    planes = torch.einsum("nchw,cd->ndhw", torch.randn(50, 6, 8, 8) * deviations, turn) + 3
    turned = fit_directions(planes, 4)(planes)
    assert turned.shape == (50, 4, 8, 8)
    torch.testing.assert_close(turned.mean((0, 2, 3)), torch.zeros(4), atol=1e-3, rtol=0)
    kept = torch.linalg.eigvalsh(torch.cov(turned.permute(1, 0, 2, 3).reshape(4, -1)))
    wanted = torch.tensor([0.0, 1.0, 2.0**0.5, 2.0])
    torch.testing.assert_close(kept.clamp_min(0).sqrt(), wanted, atol=0.1, rtol=0)
    spread = turned.std((0, 2, 3))
    assert spread.max() < 1.3 * spread.min()
