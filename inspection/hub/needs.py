"""Says what a person should do now, from what a line and its stations show."""

from collections.abc import Iterator, Mapping

from inspection.core.decision import Verdict
from inspection.hub.wire.line import LineOverview, Need, StationRow
from inspection.station.state import StationState

NOW, TODAY, SOMETIME = 1, 2, 3
FAULTS_MOST = 0.01  # more than one part in a hundred not judged is no chance event


def needs_of(
    line: LineOverview, chosen: Mapping[tuple[str, str], str], per_shift: int
) -> Iterator[Need]:
    """Give what a line needs.

    Args:
        line: as it stands.
        chosen: id of the bundle that is to judge, by station and bundle name.
        per_shift: parts that reviewers can look at in one shift.
    """
    for row in line.stations:
        for urgency, what, page in (*_of_station(row), *_of_bundles(row, chosen)):
            what = f"{row.station} {what}"
            yield Need(line=line.line, station=row.station, urgency=urgency, what=what, page=page)
    for urgency, what, page in _of_line(line, per_shift):
        yield Need(line=line.line, station=None, urgency=urgency, what=what, page=page)


def _of_station(row: StationRow) -> Iterator[tuple[int, str, str]]:
    status = row.status
    if row.seen_at is None:
        yield SOMETIME, "never said anything; give it its token and start it", "stations"
    elif row.silent:
        since = f"{row.seen_at:%Y-%m-%d %H:%M} UTC"
        yield NOW, f"is silent since {since}; look at it and the network", "stations"
    elif status is not None and status.state is not StationState.READY:
        yield NOW, f"is {status.state}: {status.reason}", "stations"
    if row.skewed:
        yield TODAY, f"has a clock that is off by {row.skew_s:.0f} s; set it by NTP", "stations"
    if status is not None and status.late:
        parts = "part" if status.late == 1 else "parts"
        what = f"was late for {status.late} {parts} since its start; look at its load"
        yield TODAY, what, "stations"


def _of_bundles(
    row: StationRow, chosen: Mapping[tuple[str, str], str]
) -> Iterator[tuple[int, str, str]]:
    if row.status is None:
        return
    for name in sorted({one.name for one in row.status.bundles}):
        wanted = chosen.get((row.station, name))
        running = {one.bundle_id for one in row.status.bundles if one.name == name}
        if wanted is not None and running != {wanted}:
            what = f"judges by another bundle '{name}' than was chosen; see its note"
            yield TODAY, what, "models"


def _of_line(line: LineOverview, per_shift: int) -> Iterator[tuple[int, str, str]]:
    faults = line.rates[Verdict.FAULT]
    if faults.low > FAULTS_MOST:
        what = f"{faults.count} of {faults.of} parts could not be judged; look at their reasons"
        yield NOW, what, "stations"
    if line.waiting > per_shift:
        what = f"{line.waiting} parts wait for review, more than the {per_shift} of a shift"
        yield TODAY, what, "review"
    for lamp in line.drift:
        if lamp.lit:
            yield TODAY, f"bundle {lamp.bundle_id[:12]}: {lamp.note}", "retraining"
