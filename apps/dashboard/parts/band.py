"""Draws scores against a band and lets a person move it: one control with two handles, two numbers.

What is being tried lives in the browser session per bundle; nothing on the line changes by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st

from inspection.core.decision import Band, Verdict
from inspection.dashboard.parts.charts import BLUE, COLOURS, GREY
from inspection.hub.wire.thresholds import Scores

TRIED = "thresholds tried"
HANDLES, LOW, HIGH = "thresholds_band", "thresholds_review_above", "thresholds_reject_above"
STEPS = 200  # positions of a handle; finer values are typed
BINS = 60
ROW_PX = 52
DEFECT = "#CC79A7"  # Okabe and Ito (2008); no colour of a verdict
SPREAD = 20.0  # largest score over the middle one from which a logarithmic axis reads better
Groups = tuple[tuple[str, tuple[float, ...], str], ...]


def groups(scores: Scores) -> Groups:
    """Name the groups of scores that are drawn, with their colours; empty ones are left out."""
    named = (
        ("calibrate normals", scores.normals, GREY),
        ("reviewed good", scores.goods, BLUE),
        ("reviewed defect", scores.defects, DEFECT),
        ("last parts", scores.recent, "#56B4E9"),
    )
    return tuple(one for one in named if one[1])


def spread_out(scores: Scores) -> bool:
    """Say whether a logarithmic axis would be read better."""
    values = np.concatenate([np.asarray(values) for _, values, _ in groups(scores)] or [[0.0]])
    return bool(values.min() > 0 and values.max() > SPREAD * np.median(values))


@dataclass(frozen=True)
class Tried:
    """The band that is tried, and that from which the handles were first moved."""

    band: Band
    start: Band


def tried(scores: Scores) -> Tried:
    """Give what is being tried; the band in force until something is."""
    kept: dict[str, Tried] = st.session_state.setdefault(TRIED, {})
    return kept.get(scores.bundle_id, Tried(scores.in_force, scores.in_force))


def reset(bundle_id: str) -> None:
    """Try the band in force again."""
    st.session_state.get(TRIED, {}).pop(bundle_id, None)


def positions(scores: Scores, bands: Sequence[Band], *, logarithmic: bool) -> list[float]:
    """Give where a handle can stand, ascending, with the values of these bands among them."""
    low, high = _range(scores, bands[0], logarithmic=logarithmic)
    spaced = np.geomspace if logarithmic else np.linspace
    grid = {float(f"{value:.4g}") for value in spaced(low, high, STEPS)}
    return sorted(grid.union(*(band.model_dump().values() for band in bands)))


def controls(scores: Scores, *, logarithmic: bool) -> Band:
    """Show the handles and the two numbers; gives the band they stand at."""
    now = tried(scores)
    low, high = now.band.review_above, now.band.reject_above
    # a new key, so a new start, whenever the handles are to stand where nobody moved them to
    key = f"{HANDLES}-{now.start.review_above}-{now.start.reject_above}-{logarithmic}"
    with st.container(key=HANDLES):
        st.select_slider(
            "REVIEW above the left handle, REJECT above the right one",
            positions(scores, (now.start, now.band), logarithmic=logarithmic),
            (low, high),
            key=key,
            format_func=lambda value: f"{value:.6g}",
            on_change=_moved,
            args=(scores.bundle_id, now, key),
        )
    left, right = st.columns(2)
    st.session_state[LOW], st.session_state[HIGH] = low, high
    for column, name, field in ((left, "REVIEW above", LOW), (right, "REJECT above", HIGH)):
        column.number_input(
            name,
            key=field,
            format="%.6g",
            step=float(f"{(abs(high) or 1.0) / STEPS:.1g}"),
            on_change=_typed,
            args=(scores.bundle_id, field),
        )
    return now.band


def chart(scores: Scores, band: Band, *, logarithmic: bool) -> Any:
    """Draw one histogram per group, one below the other, over the verdicts the band gives."""
    low, high = _range(scores, band, logarithmic=logarithmic)
    spaced = np.geomspace if logarithmic else np.linspace
    edges = spaced(low, high, BINS + 1)
    shown = groups(scores)
    kind = "log" if logarithmic else "linear"
    scale = alt.Scale(domain=[low, high], type=kind, nice=False)
    rows = [
        _row(_counted(name, values, edges), colour, band, (low, high), scale)
        for name, values, colour in shown
    ]
    return (
        alt.vconcat(*(row.properties(height=ROW_PX, width="container") for row in rows), spacing=4)
        .resolve_scale(x="shared")
        .configure_view(stroke=None)
    )


def _moved(bundle_id: str, before: Tried, key: str) -> None:
    low, high = st.session_state[key]
    band = Band(review_above=low, reject_above=high)
    st.session_state[TRIED][bundle_id] = Tried(band, before.start)


def _typed(bundle_id: str, field: str) -> None:
    """Take a typed number; the other one makes room, because REVIEW must not lie above REJECT."""
    low, high = st.session_state[LOW], st.session_state[HIGH]
    if low > high:
        low = high = st.session_state[field]
    band = Band(review_above=low, reject_above=high)
    st.session_state[TRIED][bundle_id] = Tried(band, band)


def _range(scores: Scores, band: Band, *, logarithmic: bool) -> tuple[float, float]:
    """Give the ends of the axis: all scores and both bands, with some room."""
    both = [band.review_above, band.reject_above, *scores.in_force.model_dump().values()]
    values = np.concatenate([np.asarray(both), *(np.asarray(v) for _, v, _ in groups(scores))])
    if logarithmic:
        positive = values[values > 0]
        return float(positive.min() / 1.1), float(positive.max() * 1.1)
    low, high = float(values.min()), float(values.max())
    room = 0.05 * (high - low or 1.0)
    return min(low, max(0.0, low - room)), high + room


def _counted(name: str, values: tuple[float, ...], edges: Any) -> pd.DataFrame:
    counts, _ = np.histogram(np.asarray(values), edges)
    frame = pd.DataFrame({"group": name, "from": edges[:-1], "to": edges[1:], "parts": counts})
    return frame[frame["parts"] > 0]


def _row(
    counted: pd.DataFrame, colour: str, band: Band, ends: tuple[float, float], scale: alt.Scale
) -> Any:
    low, high = ends
    zones = pd.DataFrame(
        [
            (Verdict.PASS, low, band.review_above),
            (Verdict.REVIEW, band.review_above, band.reject_above),
            (Verdict.REJECT, band.reject_above, high),
        ],
        columns=["verdict", "from", "to"],
    )
    name = f"{counted['group'].iloc[0]} ({counted['parts'].sum()})"
    x = alt.X("from:Q", scale=scale, title=None, axis=alt.Axis(grid=False, format=".4~g"))
    verdicts = alt.Color(
        "verdict:N",
        scale=alt.Scale(domain=list(COLOURS)[:3], range=list(COLOURS.values())[:3]),
        legend=alt.Legend(orient="top", title=None),
    )
    zone = alt.Chart(zones).mark_rect(opacity=0.14).encode(x=x, x2="to:Q", color=verdicts)
    bars = (
        alt.Chart(counted)
        .mark_bar(color=colour, binSpacing=0)
        .encode(
            x=x,
            x2="to:Q",
            y=alt.Y("parts:Q", title=None, axis=alt.Axis(tickCount=2, grid=False, tickMinStep=1)),
            tooltip=[
                "group",
                alt.Tooltip("from", format=".4g"),
                alt.Tooltip("to", format=".4g"),
                "parts",
            ],
        )
    )
    rules = (
        alt.Chart(zones.iloc[1:])
        .mark_rule(strokeWidth=2)
        .encode(x=alt.X("from:Q", scale=scale), color=alt.Color("verdict:N"))
    )
    return alt.layer(zone, bars, rules).properties(
        title=alt.Title(name, anchor="start", fontSize=12)
    )
