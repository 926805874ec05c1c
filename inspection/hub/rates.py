"""Says shares of parts with their interval, as every page shows them."""

from inspection.hub.wire.message import Rate
from inspection.metrics.consequences import wilson


def rate_of(count: int, of: int) -> Rate:
    """Give a share with its 95 % Wilson interval."""
    low, high = wilson(count, of)
    return Rate(count=count, of=of, value=count / of if of else None, low=low, high=high)
