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
from numpy.typing import NDArray

from inspection.core.decision import Band, Verdict
from inspection.dashboard.parts.charts import BLUE, COLOURS, GREY
from inspection.hub.wire.thresholds import Scores

TRIED, ROUND = "thresholds tried", "thresholds round"
HANDLES, LOW, HIGH = "thresholds_band", "thresholds_review_above", "thresholds_reject_above"
STEPS = 200  # positions of a handle; finer values are typed
BINS = 60
LANE_PX, LANE_FILL = 44, 0.7
AROUND_PX = 90  # legend and axis
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


def positive(scores: Scores) -> bool:
    """Say whether a logarithmic axis has a place for all scores and bands."""
    now = tried(scores)
    return bool(min(_values(scores, band).min() for band in (now.band, now.start)) > 0)


def spread_out(scores: Scores) -> bool:
    """Say whether a logarithmic axis would be read better."""
    values = _values(scores, scores.in_force)
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
    st.session_state[ROUND] = st.session_state.get(ROUND, 0) + 1


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
    begun = (st.session_state.get(ROUND, 0), *now.start.model_dump().values(), logarithmic)
    key = f"{HANDLES}-{begun}"
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
    """Draw the groups' histograms in lanes, each to its own height, over the verdicts' zones."""
    low, high = _range(scores, band, logarithmic=logarithmic)
    spaced = np.geomspace if logarithmic else np.linspace
    edges = spaced(low, high, BINS + 1)
    shown = groups(scores)
    lanes = [
        _lane(name, values, edges, len(shown) - 1 - index)
        for index, (name, values, _) in enumerate(shown)
    ]
    counted = pd.concat(lanes) if lanes else pd.DataFrame()
    x = alt.X(
        "from:Q",
        scale=alt.Scale(domain=[low, high], type="log" if logarithmic else "linear", nice=False),
        title=None,
        axis=alt.Axis(grid=False, format=".4~g"),
    )
    y = alt.Y("bottom:Q", axis=None, scale=alt.Scale(domain=[0, max(1, len(shown))], nice=False))
    colours = alt.Scale(
        domain=[name for name, _, _ in shown], range=[colour for _, _, colour in shown]
    )
    bars = (
        alt.Chart(counted)
        .mark_rect()
        .encode(
            x=x,
            x2="to:Q",
            y=y,
            y2="top:Q",
            color=alt.Color("group:N", scale=colours, legend=None),
            tooltip=[
                "group:N",
                alt.Tooltip("from:Q", format=".4g"),
                alt.Tooltip("to:Q", format=".4g"),
                "parts:Q",
            ],
        )
    )
    names = alt.Chart(
        pd.DataFrame(
            {
                "from": high,
                "bottom": [len(shown) - index - 0.02 for index in range(len(shown))],
                "text": [f"{name} ({len(values)})" for name, values, _ in shown],
            }
        )
    )
    words = names.mark_text(align="right", baseline="top", dx=-4, fontWeight="bold").encode(
        x=x, y=y, text="text:N"
    )
    height_px = max(2, len(shown)) * LANE_PX + AROUND_PX
    zones, handles = _zones(band, (low, high), x)
    return (
        alt.layer(zones, bars, handles, words)
        .resolve_scale(color="independent")
        .properties(height=height_px)
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


def _values(scores: Scores, band: Band) -> NDArray[np.float64]:
    """Give all scores, the band and that in force."""
    both = (*band.model_dump().values(), *scores.in_force.model_dump().values())
    return np.concatenate([np.asarray(both, float), *(values for _, values, _ in groups(scores))])


def _range(scores: Scores, band: Band, *, logarithmic: bool) -> tuple[float, float]:
    """Give the ends of the axis, with some room."""
    values = _values(scores, band)
    low, high = float(values.min()), float(values.max())
    if logarithmic:
        return low / 1.1, high * 1.1
    room = 0.05 * (high - low or 1.0)
    return min(low, max(0.0, low - room)), high + room


def _lane(name: str, values: tuple[float, ...], edges: Any, place: int) -> pd.DataFrame:
    """Count one group's scores between edges; its highest bar fills most of its lane."""
    counts, _ = np.histogram(np.asarray(values), edges)
    tops = place + LANE_FILL * counts / max(1, counts.max())
    frame = pd.DataFrame(
        {
            "group": name,
            "from": edges[:-1],
            "to": edges[1:],
            "parts": counts,
            "bottom": place,
            "top": tops,
        }
    )
    return frame[frame["parts"] > 0]


def _zones(band: Band, ends: tuple[float, float], x: alt.X) -> tuple[Any, Any]:
    """Give what lies under the bars, the verdict of each score, and the band's two lines."""
    at = (ends[0], band.review_above, band.reject_above, ends[1])
    names = [Verdict.PASS, Verdict.REVIEW, Verdict.REJECT]
    frame = pd.DataFrame({"verdict": names, "from": at[:-1], "to": at[1:]})
    colour = alt.Color(
        "verdict:N",
        scale=alt.Scale(domain=names, range=[COLOURS[name] for name in names]),
        legend=alt.Legend(orient="top", title=None),
    )
    zones = alt.Chart(frame).mark_rect(opacity=0.15).encode(x=x, x2="to:Q", color=colour)
    lines = alt.Chart(frame.iloc[1:]).mark_rule(strokeWidth=2).encode(x=x)
    return zones, lines
