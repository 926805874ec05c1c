"""Soaks a station: a flood of parts with bundle swaps and outages mixed in; memory, loss, recovery.

The station is a process of its own, forked without the trainer, so that its memory is a station's.
The bench keeps no events, either: what comes is held against what came before it.
"""

import csv
import itertools
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event as Flag

import numpy as np

from inspection.bench.faults.network import HOST
from inspection.bench.faults.process import DONE, Station
from inspection.bench.faults.receiver import Receiver
from inspection.bench.frame import Goal, Table, begin_report, write_report
from inspection.bench.memory import MemorySource
from inspection.bench.redness import BAND, make_bundle, make_part
from inspection.core.decision import Verdict
from inspection.core.errors import InspectionError
from inspection.core.progress import advancing
from inspection.station.part import Intake
from inspection.station.settings import MB
from inspection.station.sources.settings import CAMERA
from inspection.station.state import StationStatus

TURNS = 10  # swaps and outages, each after an equal share of the parts
OUTAGE_S = 3.0
LOOK_S = 0.2
EARLY, WINDOW = 0.05, 0.02  # memory is the median of a window of parts, from 5 % on and at the end
MOST_GROWTH, MOST_RECOVERY_S = 0.03, 3.0
BUDGET_MB = 16  # the least that can be set: pictures and old events go all the time
DISTINCT, DEFECTIVE = 15, 6  # good parts in memory, used in turn, and one that is rejected
SILENT_S = 120.0  # without a new part at the receiver the soak has failed


class Flood(MemorySource):
    """Frames in memory, as fast as the station takes them; then nothing until it is stopped."""

    def run(self, intake: Intake, stop: Flag) -> None:
        """Hand in all parts, then wait for the end."""
        super().run(intake, stop)
        stop.wait()


@dataclass
class Sequences:
    """Counts what comes against strict order, without keeping it."""

    last: int = 0
    again: int = 0
    lost: int = 0
    """Events that were passed over."""
    came_s: float = field(default_factory=time.monotonic)

    def take(self, sequence: int, _event_id: str = "") -> None:
        """Take one event."""
        self.came_s = time.monotonic()
        if sequence <= self.last:
            self.again += 1
        else:
            self.lost += sequence - self.last - 1
            self.last = sequence


@dataclass(frozen=True)
class Sample:
    """One look at the station."""

    parts: int
    resident_bytes: int
    disk_bytes: int
    waiting: int
    """Events the webhook has not got yet; the byte budget may not drop them."""


def make_flood(parts: int) -> Flood:
    """Make the source of the soak, in the station's process."""
    frames = [make_part(number) for number in good_parts(DISTINCT)] + [make_part(DEFECTIVE)]
    took_ms: deque[float] = deque(maxlen=1)  # nobody asks, and a list would grow with the parts
    return Flood([CAMERA], frames, parts, pace_s=None, took_ms=took_ms)


def good_parts(count: int) -> Iterator[int]:
    """Give numbers of parts that pass."""
    reds = ((number, int(make_part(number)[0, 0, 0])) for number in itertools.count())
    passing = (number for number, red in reds if red / 255 < BAND.review_above)
    return itertools.islice(passing, count)


def run(out: Path, *, parts: int = 200_000) -> Path:
    """Soak a station and write `soak.json` and `soak.md` into `out`.

    Raises:
        InspectionError: the station ended, or nothing comes from it any more.
    """
    report = begin_report("soak", {"parts": parts, "turns": TURNS, "outage_s": OUTAGE_S})
    with tempfile.TemporaryDirectory() as work, _soaked(Path(work), parts) as soak:
        samples, recoveries_s = soak.watch()
        status = soak.end()
        csv_lines = count_csv(soak.station.csv)
    goals = [
        *judge(parts, soak.heard, csv_lines, samples, recoveries_s),
        Goal.at_least("bundles that judged", TURNS + 1, len(soak.in_force), "bundles"),
        Goal.at_most("FAULT parts", 0, status.since_start[Verdict.FAULT], "parts"),
    ]
    changes = {"goals": tuple(goals), "tables": (_over_time(samples), _seen(status, soak.heard))}
    return write_report(out, report.model_copy(update=changes))


@dataclass
class Soak:
    """A station under flood, and what is done to it."""

    station: Station
    receiver: Receiver
    heard: Sequences
    parts: int
    bundles: list[Path]
    """Newer bundles in order; each is put into `incoming` at its turn."""
    incoming: Path
    in_force: set[str] = field(default_factory=set)
    """Bundles that were seen to judge."""

    def watch(self) -> tuple[list[Sample], list[float]]:
        """Look at the station until all parts have come; give the looks and each recovery, s."""
        samples: list[Sample] = []
        recoveries_s: list[float] = []
        every = self.parts // (TURNS + 1)
        with advancing(self.parts, "soak") as advance:
            while self.heard.last < self.parts:
                time.sleep(LOOK_S)
                self._require_progress()
                before = samples[-1].parts if samples else 0
                samples.append(self._look())
                advance(samples[-1].parts - before)
                if self.bundles and samples[-1].parts >= every * (len(recoveries_s) + 1):
                    self.bundles.pop(0).rename(self.incoming / str(len(self.bundles)))
                    recoveries_s.append(self._cut_off())
        self.station.wait(lambda: self.station.status().sequence == self.parts, "the last beat")
        return [*samples, self._look()], recoveries_s

    def end(self) -> StationStatus:
        """End the station, and give its last status."""
        status = self.station.status()
        if (code := self.station.stop()) != DONE:
            raise InspectionError(f"the station ended with {code}; wanted {DONE}; see its log")
        return status

    def _look(self) -> Sample:
        status = self.station.status()
        self.in_force |= {bundle.bundle_id for bundle in status.bundles}
        waiting = max(0, status.sequence - self.heard.last)
        resident = resident_bytes(self.station.pid)
        return Sample(status.sequence, resident, status.disk_bytes, waiting)

    def _cut_off(self) -> float:
        """Let the receiver be gone for a while; give the seconds until an event comes again."""
        self.receiver.stop()
        time.sleep(OUTAGE_S)
        before = self.heard.last
        self.receiver.start()
        return self.station.wait(lambda: self.heard.last > before, "an event after the outage")

    def _require_progress(self) -> None:
        if time.monotonic() - self.heard.came_s > SILENT_S:
            raise InspectionError(
                f"the station brought {self.heard.last} of {self.parts} events, then none for "
                f"{SILENT_S:.0f} s; see its log"
            )


def resident_bytes(pid: int) -> int:
    """Give the resident memory of a process, VmRSS."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def count_csv(path: Path) -> Sequences:
    """Hold the lines of a CSV file against strict order."""
    found = Sequences()
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            found.take(int(row["sequence"]))
    return found


def judge(
    parts: int,
    heard: Sequences,
    csv_lines: Sequences,
    samples: Sequence[Sample],
    recoveries_s: Sequence[float],
) -> Iterator[Goal]:
    """Hold what came and the memory against the goals."""
    for name, found in (("webhook", heard), ("csv", csv_lines)):
        lost = found.lost + parts - found.last
        yield Goal.at_most(f"{name}: events lost or out of order", 0, lost, "events")
    yield Goal.at_most("csv: events that stand twice", 0, csv_lines.again, "events")
    yield Goal.at_most("resident memory grows, 5 % to the end", MOST_GROWTH, growth(samples), "×")
    yield Goal.at_most(
        f"recovery, longest of {len(recoveries_s)}", MOST_RECOVERY_S, max(recoveries_s), "s"
    )


def growth(samples: Sequence[Sample]) -> float:
    """Give by which share memory at the end lies above that after 5 % of the parts."""
    total = samples[-1].parts
    first = next(s.parts for s in samples if s.parts >= EARLY * total)
    early = [s.resident_bytes for s in samples if first <= s.parts <= first + WINDOW * total]
    late = [s.resident_bytes for s in samples if s.parts >= (1 - WINDOW) * total]
    return float(np.median(late) / np.median(early) - 1)


@contextmanager
def _soaked(work: Path, parts: int) -> Iterator[Soak]:
    """Run a station under flood, its receiver beside it."""
    incoming = work / "bundles"
    incoming.mkdir()
    heard = Sequences()
    updates = {"bundles": (str(incoming),), "poll_ms": 200}
    spool = {"budget_mb": BUDGET_MB}
    with Receiver(heard.take) as receiver:
        output = {"kind": "webhook", "url": f"http://{HOST}:{receiver.port}"}
        bundles = [make_bundle(work / f"bundle-{day}", day=day) for day in range(TURNS + 1)]
        with Station(work, bundles[0], outputs=[output], updates=updates, spool=spool) as station:
            station.start(source=partial(make_flood, parts))
            station.wait(lambda: heard.last > 0, "the first event")
            yield Soak(station, receiver, heard, parts, bundles[1:], incoming)


def _over_time(samples: Sequence[Sample]) -> Table:
    """Show memory and disk at every tenth of the parts."""
    total = samples[-1].parts
    rows = []
    for tenth in range(11):
        sample = next(s for s in samples if s.parts >= total * tenth / 10)
        resident_mb, disk_mb = sample.resident_bytes / MB, sample.disk_bytes / MB
        rows.append((sample.parts, resident_mb, disk_mb, sample.waiting))
    columns = ("parts", "resident MB", "disk MB", "events the webhook has not got")
    return Table(title="Over time", columns=columns, rows=tuple(rows))


def _seen(status: StationStatus, heard: Sequences) -> Table:
    rows = [
        *((str(verdict), count) for verdict, count in status.since_start.items()),
        *((f"dropped by the byte budget: {name}", n) for name, n in status.dropped.items()),
        ("webhook: events that came again", heard.again),
    ]
    return Table(title="Seen", columns=("what", "times"), rows=tuple(rows))
