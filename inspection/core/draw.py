"""Draws a share of events by hash: station and hub, and every restart of them, draw the same."""

import hashlib
from typing import Literal

PASS_SHARE = 0.005
"""Of PASS parts people look at, so that what escapes is estimated on a known share of them."""


def is_drawn(event_id: str, purpose: Literal["pass", "second"], share: float) -> bool:
    """Say whether an event belongs to the share, 0 to 1, that is drawn for a purpose."""
    return fraction(purpose, event_id) < share


def fraction(purpose: str, event_id: str) -> float:
    """Give a number from 0 to below 1 that looks random and is always the same."""
    digest = hashlib.sha256(f"{purpose}\n{event_id}".encode()).digest()
    return (int.from_bytes(digest[:8]) >> 11) / 2**53  # as many bits as a float holds
