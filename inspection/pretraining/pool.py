"""Draws many pictures, with what the filter bank says of each, on all cores."""

import math
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inspection.core.progress import advancing
from inspection.pretraining.filters import FilterBank
from inspection.pretraining.pictures import draw_picture

CHUNK = 32  # pictures that one worker draws at once
Drawn = tuple[NDArray[np.uint8], NDArray[np.float16], NDArray[np.float16]]


def draw_pool(count: int, side_px: int, seed: int) -> Iterator[Drawn]:
    """Draw pictures, a chunk at a time, in the same order whatever the number of cores.

    Args:
        count: pictures, rounded up to whole chunks of 32.
        side_px: of each; divisible by 16.
        seed: of them; picture n is the same however many follow.

    Yields:
        Pictures, uint8 n×side×side×3, and the filter bank's two answers, float16.
    """
    chunks = math.ceil(count / CHUNK)
    with (
        ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool,
        advancing(chunks, "pictures") as advance,
    ):
        for drawn in pool.map(_draw, [(seed, chunk, side_px) for chunk in range(chunks)]):
            advance(1)
            yield drawn


def as_images(pictures: NDArray[np.uint8]) -> Tensor:
    """Give pictures as images, float32 n×3×side×side of 0 to 1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def _draw(wanted: tuple[int, int, int]) -> Drawn:
    seed, chunk, side_px = wanted
    torch.set_num_threads(1)  # each core has a worker
    numbers = range(chunk * CHUNK, (chunk + 1) * CHUNK)
    pictures = np.stack(
        [draw_picture(side_px, np.random.default_rng((seed, number))) for number in numbers]
    )
    fine, coarse = FilterBank()(as_images(pictures))
    return pictures, fine.numpy().astype(np.float16), coarse.numpy().astype(np.float16)
