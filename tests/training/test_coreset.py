"""The coreset: distinct rows, a cover radius near plain greedy's, the same every time."""

import pytest
import torch
from torch import Tensor

from inspection.training.coreset import cover_radius, k_center_greedy


def clustered(count: int, depth: int, seed: int) -> Tensor:
    """Rows in 40 clumps of different density far from zero, as patch features lie."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(40, depth, generator=generator) * 3 + 20
    which = (torch.rand(count, generator=generator).square() * 40).long()
    return centers[which] + torch.randn(count, depth, generator=generator)


def plain_greedy(vectors: Tensor, size: int, first: int) -> Tensor:
    """Add the farthest row one by one, in float64."""
    exact = vectors.double()
    nearest = (exact - exact[first]).norm(dim=1)
    chosen = [first]
    for _ in range(size - 1):
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (exact - exact[chosen[-1]]).norm(dim=1))
    return torch.tensor(chosen)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("count", "size"), [(3_000, 200), (1_500, 700)], ids=["few", "half"])
def test_cover_radius_is_within_four_percent_of_plain_greedy(count: int, size: int, seed: int):
    """Adding centers in batches covers the rows nearly as well as adding them one by one."""
    vectors = clustered(count, 24, seed)
    chosen = k_center_greedy(vectors, size, seed)
    wanted = cover_radius(vectors, plain_greedy(vectors, size, int(chosen[0])))
    assert cover_radius(vectors, chosen) <= 1.04 * wanted


def test_rows_are_distinct():
    """No row is selected twice."""
    chosen = k_center_greedy(clustered(400, 8, 0), 399, seed=3)
    assert len(set(chosen.tolist())) == 399


def test_all_rows_are_selected_when_size_is_their_number():
    """The whole set is its own coreset, with cover radius nothing."""
    vectors = clustered(50, 8, 0)
    chosen = k_center_greedy(vectors, 50, seed=0)
    assert sorted(chosen.tolist()) == list(range(50))
    assert cover_radius(vectors, chosen) == pytest.approx(0, abs=1e-2)  # torch.cdist's rounding


def test_identical_rows_are_still_distinct_row_numbers():
    """Where every distance is nothing, rows are taken once each all the same."""
    chosen = k_center_greedy(torch.full((70, 5), 7.25), 70, seed=1)
    assert sorted(chosen.tolist()) == list(range(70))


def test_different_rows_come_before_copies():
    """Copies of a selected row are taken only after every different row."""
    vectors = torch.cat([torch.zeros(60, 3), torch.eye(3), -torch.eye(3)])
    chosen = k_center_greedy(vectors, 7, seed=0)
    assert {row for row in chosen.tolist() if row >= 60} == set(range(60, 66))


@pytest.mark.parametrize("batches", [1, 3, 6])
def test_shorter_coreset_is_the_beginning_of_a_longer_one(batches: int):
    """At whole batches the selection is nested, so the start of a bank is itself a coreset."""
    vectors = clustered(800, 12, 5)
    longer = k_center_greedy(vectors, 200, seed=4)
    shorter = k_center_greedy(vectors, 1 + 16 * batches, seed=4)
    assert torch.equal(longer[: len(shorter)], shorter)


def test_any_beginning_covers_nearly_as_well_as_a_coreset_of_its_size():
    """The coarse bank is cut anywhere; it must still cover like plain greedy."""
    vectors = clustered(2_000, 24, 6)
    start = k_center_greedy(vectors, 400, seed=0)[:150]
    wanted = cover_radius(vectors, plain_greedy(vectors, 150, int(start[0])))
    assert cover_radius(vectors, start) <= 1.05 * wanted


def test_same_seed_gives_the_same_rows_and_another_seed_others():
    """The seed decides the first row, and that row everything else."""
    vectors = clustered(500, 8, 0)
    first = k_center_greedy(vectors, 40, seed=7)
    assert torch.equal(first, k_center_greedy(vectors, 40, seed=7))
    assert first[0] != k_center_greedy(vectors, 40, seed=8)[0]


def test_vectors_are_unchanged():
    """The caller's tensor is only read."""
    vectors = clustered(300, 8, 0)
    before = vectors.clone()
    k_center_greedy(vectors, 30, seed=0)
    assert torch.equal(vectors, before)


def test_global_random_state_is_unchanged():
    """Selecting rows draws nothing from torch's own generator."""
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    k_center_greedy(clustered(100, 4, 0), 10, seed=0)
    assert torch.equal(torch.rand(1), wanted)


def test_one_row_is_the_seeded_first():
    """A coreset of one is the seeded row alone."""
    chosen = k_center_greedy(clustered(90, 4, 0), 1, seed=2)
    generator = torch.Generator().manual_seed(2)
    assert chosen.tolist() == torch.randint(90, (1,), generator=generator).tolist()


@pytest.mark.parametrize("size", [0, -1, 11])
def test_impossible_size_is_refused(size: int):
    """Sizes outside 1 to n are refused with both numbers."""
    with pytest.raises(ValueError, match=f"size is {size}; wanted 1 to 10"):
        k_center_greedy(torch.zeros(10, 2), size, seed=0)


def test_progress_counts_every_center_after_the_first():
    """The bar is moved by what was added; the first row is there from the start."""
    steps: list[int] = []
    k_center_greedy(clustered(200, 4, 0), 50, 0, steps.append)
    assert sum(steps) == 49
    assert max(steps) == 16


def test_radius_is_that_of_the_farthest_row_in_any_slice():
    """The radius looks at every row, however the rows are sliced."""
    vectors = torch.zeros(20, 2)
    vectors[17] = torch.tensor([3.0, 4.0])
    assert cover_radius(vectors, torch.tensor([0]), rows=6) == pytest.approx(5.0)
