"""Says how far two people decide alike beyond chance."""

from collections import Counter
from collections.abc import Mapping


def cohen_kappa(pairs: Mapping[tuple[str, str], int]) -> float | None:
    """Give Cohen's kappa (1960): the agreement beyond chance over the most there could be.

    Args:
        pairs: how often the first person said the one and the second the other.

    Returns:
        -1 to 1; none where chance alone would agree always, as with no pairs or one answer only.
    """
    total = sum(pairs.values())
    first, second = Counter[str](), Counter[str]()
    for (one, other), count in pairs.items():
        first[one] += count
        second[other] += count
    by_chance = sum(first[answer] * second[answer] for answer in first)  # of total squared
    if by_chance == total**2:
        return None
    agreed = sum(count for (one, other), count in pairs.items() if one == other)
    return (agreed * total - by_chance) / (total**2 - by_chance)
