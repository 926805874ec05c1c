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
MONITOR_PX = 130
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


def pareto(counts: dict[str, int], height_px: int = HOURS_PX) -> Any:
    """Draw named counts of parts, the most first, and which share the first of them make up."""
    frame = pd.DataFrame({"name": list(counts), "parts": list(counts.values())})
    frame = frame.sort_values("parts", ascending=False, kind="stable")
    frame["share"] = frame["parts"].cumsum() / max(1, frame["parts"].sum())
    x = alt.X("name:N", sort=list(frame["name"]), title=None, axis=alt.Axis(labelAngle=0))
    tooltip = ["name", "parts", alt.Tooltip("share:Q", format=".0%", title="up to here")]
    bars_ = (
        alt.Chart(frame)
        .mark_bar(color=BLUE)
        .encode(
            x=x, y=alt.Y("parts:Q", axis=alt.Axis(tickMinStep=1), title="parts"), tooltip=tooltip
        )
    )
    line = (
        alt.Chart(frame)
        .mark_line(point={"color": COLOURS[Verdict.REJECT]}, color=COLOURS[Verdict.REJECT])
        .encode(
            x=x,
            y=alt.Y(
                "share:Q",
                title="share of all, summed up",
                axis=alt.Axis(format=".0%"),
                scale=alt.Scale(domain=[0, 1]),
            ),
            tooltip=tooltip,
        )
    )
    return alt.layer(bars_, line).resolve_scale(y="independent").properties(height=height_px)


def types_over_time(
    rows: Sequence[tuple[datetime, str, int]], span: tuple[datetime, datetime], *, by_day: bool
) -> Any:
    """Stack the parts of each type, by hour or by day.

    Args:
        rows: (beginning of the hour or day, type, parts).
        span: begin and end of the time that is shown, whether or not there are parts in all of it.
        by_day: whether they are days.
    """
    frame = pd.DataFrame(rows, columns=["at", "type", "parts"])
    unit: Any = "utcyearmonthdate" if by_day else "yearmonthdatehours"  # the hub's days are UTC's
    axis = alt.Axis(format="%d %b", labelOverlap=True) if by_day else HOURS
    return (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X(
                "at:T",
                timeUnit=unit,
                title=None,
                axis=axis,
                scale=alt.Scale(domain=list(span)),
            ),
            y=alt.Y("sum(parts):Q", title="parts"),
            color=alt.Color("type:N", legend=alt.Legend(orient="top", title=None)),
            tooltip=[alt.Tooltip("type:N"), alt.Tooltip("sum(parts):Q", title="parts")],
        )
        .properties(height=HOURS_PX)
    )


def confusion(rows: Sequence[tuple[str, str, int]]) -> Any:
    """Draw a table of parts, darker where there are more.

    Args:
        rows: (what the detector named, what people said, parts).
    """
    frame = pd.DataFrame(rows, columns=["found", "said", "parts"])
    cells = alt.Chart(frame).encode(
        x=alt.X("found:N", title="the detector named", axis=alt.Axis(orient="top", labelAngle=0)),
        y=alt.Y("said:N", title="people said"),
        tooltip=["found", "said", "parts"],
    )
    middle = max(frame["parts"], default=0) / 2
    squares = cells.mark_rect().encode(
        color=alt.Color("parts:Q", scale=alt.Scale(scheme="blues"), legend=None)
    )
    numbers = cells.mark_text(fontSize=13).encode(
        text="parts:Q",
        color=alt.condition(f"datum.parts > {middle:g}", alt.value("white"), alt.value("black")),
    )
    return alt.layer(squares, numbers).properties(height=60 + 32 * frame["said"].nunique())


def monitor(
    blocks: Sequence[tuple[datetime, float]], limit: float | None, raised_at: datetime | None
) -> Any:
    """Draw one monitor's means over time, small.

    Args:
        blocks: end of each block of parts and its mean, in standard deviations of the reference.
        limit: how far out a mean may lie; the band of it is shaded.
        raised_at: when the alarm was raised that stands, marked by a line.
    """
    frame = pd.DataFrame(blocks, columns=["at", "mean"])
    reach = 1.2 * max(limit or 1.0, float(frame["mean"].abs().max()))
    x = alt.X("at:T", title=None, axis=alt.Axis(format="%d %b %H:%M", labelOverlap=True))
    y = alt.Y("mean:Q", title="σ", scale=alt.Scale(domain=[-reach, reach], nice=False))
    means = (
        alt.Chart(frame)
        .mark_line(color=BLUE, point=alt.OverlayMarkDef(size=16, color=BLUE))
        .encode(
            x=x,
            y=y,
            tooltip=[
                alt.Tooltip("at:T", format="%Y-%m-%d %H:%M"),
                alt.Tooltip("mean:Q", format="+.2f", title="σ"),
            ],
        )
    )
    layers = [means]
    if limit is not None:
        band = pd.DataFrame({"low": [-limit], "high": [limit]})
        layers.insert(
            0, alt.Chart(band).mark_rect(color=GREY, opacity=0.2).encode(y="low:Q", y2="high:Q")
        )
    if raised_at is not None:
        mark = alt.Chart(pd.DataFrame({"at": [raised_at]}))
        layers.append(mark.mark_rule(color=COLOURS[Verdict.REJECT], strokeWidth=2).encode(x="at:T"))
    return alt.layer(*layers).properties(height=MONITOR_PX)
