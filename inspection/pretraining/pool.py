"""Draws many pictures on all cores, the same whatever the number of cores."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

import numpy as np
import torch

from inspection.core.progress import advancing

CHUNK = 32  # pictures that one worker draws at once
T = TypeVar("T")
Draw = Callable[[int, Sequence[np.random.Generator]], T]


def draw_pool(draw: Draw[T], count: int, side_px: int, seed: int) -> Iterator[T]:
    """Draw pictures, a chunk at a time, always in the same order.

    Args:
        draw: makes a chunk of a side and one generator per picture; known to other processes.
        count: pictures, rounded up to whole chunks of 32.
        side_px: of each; divisible by 16.
        seed: of them; picture n is the same however many follow.

    Yields:
        What `draw` makes of 32 pictures.
    """
    chunks = math.ceil(count / CHUNK)
    with (
        ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool,
        advancing(chunks, "pictures") as advance,
    ):
        wanted = [(draw, side_px, seed, chunk) for chunk in range(chunks)]
        for drawn in pool.map(_draw, wanted):
            advance(1)
            yield drawn


def _draw(wanted: tuple[Draw[T], int, int, int]) -> T:
    draw, side_px, seed, chunk = wanted
    torch.set_num_threads(1)  # each core has a worker
    numbers = range(chunk * CHUNK, (chunk + 1) * CHUNK)
    return draw(side_px, [np.random.default_rng((seed, number)) for number in numbers])
