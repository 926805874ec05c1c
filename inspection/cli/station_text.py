"""Sets a station's status on one screen of a terminal, for the technician beside the line."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from inspection.core.decision import Band, Verdict
from inspection.core.records import Event
from inspection.station.state import BundleStatus, OutputStatus, StationState, StationStatus
from inspection.station.web.pulse import silent_after_s

LAST_PARTS = 6  # more would not fit the screen
LAMPS = {
    StationState.READY: "bold white on green4",
    StationState.STARTING: "bold black on orange1",
    StationState.IMPAIRED: "bold black on orange1",
    StationState.BLOCKED: "bold white on red3",
    StationState.STOPPED: "bold white on red3",
}
VERDICTS = {
    Verdict.PASS: "bold green4",
    Verdict.REVIEW: "bold orange3",
    Verdict.REJECT: "bold red3",
    Verdict.FAULT: "bold purple",
}
WRONG = "bold red3"


def status_text(
    status: StationStatus, age_s: float, heartbeat_ms: int, *, running: bool = True
) -> Group:
    """Set everything a technician asks first on one screen, to be printed by a rich Console.

    Args:
        status: the station's last snapshot.
        age_s: seconds since it was taken.
        heartbeat_ms: how often the station takes one; a station whose snapshot is old does not
            answer, unless it said that it stopped.
        running: whether the station's process lives.
    """
    blocks = (
        _counts(status),
        _parts(status.last[:LAST_PARTS]),
        _outputs(status.outputs),
        _bundles(status.bundles),
        _numbers(status),
    )
    spaced = (one for block in blocks for one in (block, ""))
    silence = "" if status.state is StationState.STOPPED else _silence(age_s, heartbeat_ms, running)
    return Group(_lamp(status, silence), *spaced)


def answers(age_s: float, heartbeat_ms: int) -> bool:
    """Say whether a station whose last snapshot is so old still answers.

    One from the future is as bad as an old one: the clock was set back since.
    """
    return abs(age_s) <= silent_after_s(heartbeat_ms)


def _silence(age_s: float, heartbeat_ms: int, running: bool) -> str:
    if not running:
        return "IS NOT RUNNING"
    if answers(age_s, heartbeat_ms):
        return ""
    since = f"since {age_s:.0f} s" if age_s > 0 else "since the clock was set back"
    return f"DOES NOT ANSWER {since}"


def _lamp(status: StationStatus, silence: str) -> Panel:
    if silence:
        style, word = LAMPS[StationState.STOPPED], f"STATION {silence}"
        reason = "what stands below is old; look after the station's process"
    else:
        style, word = LAMPS[status.state], str(status.state)
        reason = status.reason or "parts are judged"
    words = Text.assemble((f" {word} ", style), "  ", _plain(reason))
    since = f"started {_day(status.started_at)}, seen {_day(status.at)}, version {status.version}"
    title = Text(f"{_plain(status.line)} · {_plain(status.station)}")
    return Panel(words, title=title, subtitle=Text(since), border_style=style.split(" on ")[-1])


def _counts(status: StationStatus) -> Table:
    table = _table("parts", *(Text(verdict, VERDICTS[verdict]) for verdict in Verdict))
    for name, counts in (("since the start", status.since_start), ("in all", status.counts)):
        _add(table, name, *(f"{counts.get(verdict, 0):,}" for verdict in Verdict))
    return table


def _parts(events: Sequence[Event]) -> Table | Text:
    if not events:
        return Text(" no part judged yet")
    table = _table("last parts", "verdict", "score", "review / reject", "ms", "why")
    for event in events:
        frame = event.deciding
        _add(
            table,
            event.part_id,
            Text(event.verdict, VERDICTS[event.verdict]),
            "none" if frame.score is None else f"{frame.score:.4g}",
            _band(frame.band),
            f"{event.latency_ms:.0f}",
            event.reason,
        )
    return table


def _outputs(outputs: Iterable[OutputStatus]) -> Table:
    table = _table("outputs", "", "waiting", "why")
    for output in outputs:
        up = Text("up", VERDICTS[Verdict.PASS]) if output.up else Text("DOWN", WRONG)
        _add(table, output.name, up, f"{output.waiting:,}", output.reason)
    return table


def _bundles(bundles: Iterable[BundleStatus]) -> Table:
    table = _table("bundles", "camera", "in force", "review / reject", "note")
    for bundle in bundles:
        band = Band(review_above=bundle.review_above, reject_above=bundle.reject_above)
        names = f"known defects by {bundle.detector}" if bundle.detector else ""
        note = "; ".join(filter(None, ("on trial" * bundle.trial, bundle.note, names)))
        name = f"{bundle.name} {bundle.bundle_id[:12]}"
        _add(table, bundle.product, bundle.camera, name, _band(band), note)
    return table


def _band(band: Band | None) -> str:
    return "" if band is None else f"{band.review_above:.4g} / {band.reject_above:.4g}"


def _numbers(status: StationStatus) -> Text:
    latency = status.latency
    lasted = (
        "no latency yet"
        if latency is None
        else f"latency p50 {latency.p50_ms:.1f} ms, p99 {latency.p99_ms:.1f} ms"
    )
    dropped = ", ".join(f"{count:,} {what}" for what, count in status.dropped.items()) or "nothing"
    return Text(
        f" {lasted}, deadline {status.deadline_ms:,} ms · {status.waiting} waiting, "
        f"{status.late} late, {status.late_frames} frames after their part's verdict\n"
        f" disk {status.disk_bytes / 1e9:.2f} of {status.budget_bytes / 1e9:.2f} GB, "
        f"dropped: {_plain(dropped)}\n"
        f" source {_plain(status.source) or 'works'}"
    )


def _table(*headings: str | Text) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _add(table: Table, *cells: str | Text) -> None:
    """Add a row; as Text, so that a part id with brackets is no markup."""
    table.add_row(*(cell if isinstance(cell, Text) else Text(_plain(cell)) for cell in cells))


def _plain(text: str) -> str:
    """Give foreign text without what a terminal would obey."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def _day(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
