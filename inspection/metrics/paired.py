"""Bounds how far two shares of the same parts may differ, from the parts on which they do."""

import math

from scipy import stats

from inspection.core.errors import InspectionError
from inspection.core.records import Interval

RISK = 0.05  # one-sided


def difference_interval(only_second: int, only_first: int, parts: int) -> Interval:
    """Give the second share minus the first, of the same parts, with its 95 % interval.

    Args:
        only_second: parts that only the second marks.
        only_first: parts that only the first marks.
        parts: all that both looked at, at least one.

    Raises:
        InspectionError: as for `difference_limit`.
    """
    low = -difference_limit(only_first, only_second, parts, RISK / 2)
    high = difference_limit(only_second, only_first, parts, RISK / 2)
    return Interval(value=(only_second - only_first) / max(parts, 1), low=low, high=high)


def difference_limit(only_second: int, only_first: int, parts: int, risk: float = RISK) -> float:
    """Give the one-sided upper limit of the second share minus the first, of the same parts.

    The exact (Clopper-Pearson) limits of both discordant shares, put together by the method of
    variance estimates recovery (Newcombe 1998; Zou and Donner 2008) with their correlation. With no
    discordant part that is the rule of three, never 0; with discordant parts on one side only it is
    exact.

    Args:
        only_second: parts that only the second marks.
        only_first: parts that only the first marks.
        parts: all that both looked at; without any the limit is 1.
        risk: that the difference lies above it; 0.05 gives the 95 % limit.

    Raises:
        InspectionError: a count is negative, or there are more discordant parts than parts.
    """
    if min(only_second, only_first) < 0 or only_second + only_first > parts:
        raise InspectionError(
            f"{only_second} and {only_first} discordant of {parts} parts; wanted no more than parts"
        )
    if not parts:
        return 1.0
    up, down = only_second / parts, only_first / parts
    above = _upper(only_second, parts, risk) - up
    below = down - (1 - _upper(parts - only_first, parts, risk))
    apart = up * down and math.sqrt(up * down / ((1 - up) * (1 - down)))
    spread = math.sqrt(above**2 + below**2 + 2 * apart * above * below)
    return min(1.0, up - down + spread)


def parts_needed(margin: float) -> int:
    """Give the least number of parts that can show a difference below a margin in (0, 1).

    Of so many not one may be discordant.
    """
    return math.floor(math.log(RISK) / math.log(1 - margin)) + 1


def _upper(count: int, parts: int, risk: float) -> float:
    """Give the exact one-sided upper limit of a share."""
    return 1.0 if count == parts else float(stats.beta.ppf(1 - risk, count + 1, parts - count))
