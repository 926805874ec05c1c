"""Altair charts that pages share: fixed verdict colours, one theme, readable at 1366 × 768."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import altair as alt
import pandas as pd

from inspection.core.decision import Verdict

# Okabe and Ito (2008): told apart with every common colour blindness, and by lightness in grey
COLOURS = {
    Verdict.PASS: "#009E73",
    Verdict.REVIEW: "#E69F00",
    Verdict.REJECT: "#D55E00",
    Verdict.FAULT: "#333333",
}
HOURS_PX = 220
BLUE, GREY = "#0072B2", "#8C8C8C"
HOURS = alt.Axis(format="%a %H:%M", labelOverlap=True)  # of the browser's time zone
VERDICTS = alt.Scale(domain=[verdict.value for verdict in COLOURS], range=list(COLOURS.values()))


def verdict_bars(
    rows: Sequence[tuple[datetime, str, Verdict, int]], span: tuple[datetime, datetime]
) -> Any:
    """Stack the verdicts of each hour.

    Args:
        rows: (beginning of the hour, station, verdict, parts).
        span: begin and end of the time that is shown, whether or not there are parts in all of it.
    """
    frame = pd.DataFrame(rows, columns=["hour", "station", "verdict", "parts"])
    frame["order"] = frame["verdict"].map(list(COLOURS).index)
    return (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X(
                "hour:T",
                timeUnit="yearmonthdatehours",
                title=None,
                axis=HOURS,
                scale=alt.Scale(domain=list(span)),
            ),
            y=alt.Y("sum(parts):Q", title="parts per hour"),
            color=alt.Color(
                "verdict:N", scale=VERDICTS, legend=alt.Legend(orient="top", title=None)
            ),
            order=alt.Order("order:Q"),
            tooltip=[
                alt.Tooltip("hour:T", timeUnit="yearmonthdatehours", title="hour"),
                alt.Tooltip("verdict:N"),
                alt.Tooltip("sum(parts):Q", title="parts"),
            ],
        )
        .properties(height=HOURS_PX)
    )


def bars(counts: dict[str, int], title: str, height_px: int = 160) -> Any:
    """Draw named counts as bars, the most first."""
    frame = pd.DataFrame({"name": list(counts), "parts": list(counts.values())})
    return (
        alt.Chart(frame)
        .mark_bar(color=BLUE)
        .encode(
            x=alt.X("parts:Q", title=title, axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("name:N", sort="-x", title=None, axis=alt.Axis(labelLimit=140)),
            tooltip=["name", "parts"],
        )
        .properties(height=height_px)
    )
