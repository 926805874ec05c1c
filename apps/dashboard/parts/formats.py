"""Says values as people read them: shares with intervals, times, sizes, short hashes."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from inspection.core.decision import Verdict
from inspection.hub.wire.message import Rate

_MARKS = re.compile(r"[\\`*_\[\]{}<>#!|$~:&]|^[-+]|(?<=\d)[.)](?=\s)")  # and what begins a list
ICONS = {
    Verdict.PASS: ":material/check_circle:",
    Verdict.REVIEW: ":material/visibility:",
    Verdict.REJECT: ":material/cancel:",
    Verdict.FAULT: ":material/error:",
}


def percent(value: float | None) -> str:
    """Say a share, 0 to 1, with the digits that matter; a dash where nothing is known."""
    if value is None:
        return "–"
    return f"{value:.2%}" if value < 0.1 else f"{value:.1%}"


def interval(rate: Rate) -> str:
    """Say the 95 % interval of a share."""
    return f"{percent(rate.low)} to {percent(rate.high)}" if rate.of else "no parts yet"


def number(value: float | None, digits: int = 3) -> str:
    """Say a raw score or a threshold."""
    return "–" if value is None else f"{value:.{digits}f}"


def counted(count: int, thing: str) -> str:
    """Say how many there are of what has a plural in -s."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def clock(at: datetime | None) -> str:
    """Say a time in the browser's time zone, to the second, with the zone."""
    return "never" if at is None else f"{local(at):%Y-%m-%d %H:%M:%S %Z}"


def local(at: datetime) -> datetime:
    """Bring a time into the browser's time zone; UTC where that is unknown."""
    try:
        return at.astimezone(ZoneInfo(st.context.timezone or "UTC"))
    except ZoneInfoNotFoundError:
        return at.astimezone(UTC)


def lasting(time: timedelta | None) -> str:
    """Say a duration in its two largest units; nothing where there is none."""
    if time is None:
        return ""
    minutes, seconds = divmod(int(time.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def size(count: float) -> str:
    """Say a number of bytes."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def plain(text: str) -> str:
    """Let a text stand in Markdown as it is: names and comments come from people and stations."""
    return _MARKS.sub(r"\\\g<0>", " ".join(text.split()))


def short(sha256: str) -> str:
    """Say a bundle id or hash by its first 12 digits, as the command line does."""
    return sha256[:12]
