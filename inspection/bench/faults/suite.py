"""Plays every fault of the suite and writes what came of it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from inspection.bench.faults import (
    altered,
    cameras,
    clocks,
    corruption,
    disk,
    hubs,
    kills,
    outages,
    scorer,
    slow,
)
from inspection.bench.faults.scenario import Options, Scenario, Scene
from inspection.bench.frame import Cell, Goal, Table, begin_report, write_report
from inspection.bench.redness import make_bundle
from inspection.core.errors import ConfigError
from inspection.core.progress import follow

SCENARIOS = (
    Scenario("kills", kills.kill_at_random),
    Scenario("kills-at-steps", kills.kill_at_steps),
    Scenario("disk-full", disk.fill_disk),
    Scenario("write-errors", disk.refuse_writes),
    Scenario("torn-write", disk.tear_last_write),
    Scenario("clock", clocks.jump_clock),
    Scenario("corrupt-bundle", corruption.start_corrupt),
    Scenario("corrupt-update", corruption.update_corrupt),
    Scenario("altered-bundle", altered.alter_bundles),
    Scenario("altered-finder", altered.alter_finders),
    Scenario("camera-stalls", cameras.stall),
    Scenario("camera-frozen", cameras.freeze),
    Scenario("out-of-memory", scorer.starve),
    Scenario("out-of-memory-for-good", scorer.starve_for_good),
    Scenario("hung-scorer", scorer.hang),
    Scenario("hung-scorer-for-good", scorer.hang_for_good),
    Scenario("outages", outages.break_destinations),
    Scenario("safe-output", outages.drive_safe_output),
    Scenario("poison-events", hubs.poison_events),
    Scenario("same-pictures", hubs.show_alike),
    Scenario("lost-record", hubs.lose_record),
    Scenario("slow-clients-hub", slow.beset_hub),
    Scenario("slow-clients-station", slow.beset_station),
)


def run(out: Path, *, options: Options | None = None, only: Sequence[str] = ()) -> Path:
    """Play the scenarios and write `faults.json` and `faults.md` into `out`.

    Args:
        out: folder of the evidence.
        options: how long and how often.
        only: names of scenarios; none plays all.

    Raises:
        ConfigError: no scenario has such a name.
        InspectionError: a station did what no fault explains, such as to hang.
    """
    options = options or Options()
    played = _choose(only)
    report = begin_report("faults", vars(options) | {"only": ", ".join(only) or "all"})
    goals: list[Goal] = []
    rows: list[tuple[Cell, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        bundle = make_bundle(Path(folder) / "bundle")
        for scenario in follow(played, "faults"):
            work = Path(folder) / scenario.name
            work.mkdir()
            found = scenario.play(Scene(work, bundle, options))
            goals += found.goals
            rows += [(scenario.name, *row) for row in found.rows]
    table = Table(title="Seen", columns=("scenario", "what", "found"), rows=tuple(rows))
    changes = {"goals": tuple(goals), "tables": (table,), "notes": NOTES}
    return write_report(out, report.model_copy(update=changes))


NOTES = (
    "Every station is a real process running the whole service: watched folder, OpenVINO, SQLite, "
    "CSV output, pictures; its bundle judges by redness. Simulated are the camera behind its "
    "driver, and a fault that no user can cause from outside, such as a scorer without memory: "
    "both are put into the process, which is forked from one that has done its imports.",
    "A part of a camera is one whose shutter was asked for: the process lists that outside its "
    "record, and a kill leaves the list whole. A trigger before whose shutter the process died "
    "is no part; it may have an event all the same.",
    "Slow clients are 2,000 connections from eight addresses, without a token. Others ask "
    "meanwhile, each on a new connection, and have 5 s for an answer, which may be that the "
    "service is busy; one whose connection is ended unanswered asks again within them.",
    "Signals sent again carry the event_id and sequence they had, and come only where their "
    "acknowledgement was not durable yet; delivery is at least once, the CSV file holds each once.",
    "Write errors are EFBIG from a limit on file length, set and lifted from outside while the "
    "station runs; SQLite takes it as the I/O error it takes EIO for.",
    "Destinations are gone for 30 times the longest pause between two tries, so a longer outage "
    "would show nothing else. Those of one phase are gone all at once, at one station.",
    "Safe output: not READY and the safe action, or no sign of life at all, which a PLC must take "
    "for the same.",
)


def _choose(only: Sequence[str]) -> Sequence[Scenario]:
    names = [scenario.name for scenario in SCENARIOS]
    unknown = sorted(set(only) - set(names))
    if unknown:
        raise ConfigError(
            f"--only: found '{unknown[0]}'; wanted one of {', '.join(names)}; correct the name"
        )
    return [scenario for scenario in SCENARIOS if scenario.name in only or not only]
