"""Runs the benches of the hub into one report: ingest, what dies, pages over a million events."""

from pathlib import Path

from inspection.bench.frame import Goal, Table, begin_report, write_report
from inspection.bench.hub.chaos import STATIONS, measure_chaos
from inspection.bench.hub.ingest import DATABASES, measure_ingest
from inspection.bench.hub.million import measure_pages


def run(out: Path, *, ingested: int, survived: int, shown: int) -> Path:
    """Measure the hub and write `hub.json` and `hub.md` into `out`.

    Args:
        out: folder of the report.
        ingested: events, each with a picture of 100 kB, that are timed into each database.
        survived: events during which things die, for each database.
        shown: events behind the pages.

    Raises:
        InspectionError: a program is not installed, or something did not come up.
    """
    settings = {"ingested": ingested, "survived": survived, "shown": shown}
    report = begin_report("hub", settings)
    goals, table = measure_ingest(ingested // STATIONS)
    tables: list[Table] = [table]
    found: list[Goal] = list(goals)
    for kind in DATABASES:
        goals, table = measure_chaos(kind, survived // STATIONS)
        found += goals
        tables.append(table)
    goals, table = measure_pages(shown)
    found += goals
    tables.append(table)
    return write_report(
        out, report.model_copy(update={"goals": tuple(found), "tables": tuple(tables)})
    )
