"""The disk: full, refusing writes, and cut off in the middle of the last one."""

import os
import random
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np

from inspection.bench.faults.process import Station
from inspection.bench.faults.scenario import Finding, Scene, not_measured
from inspection.bench.frame import Goal
from inspection.station.spool import DATABASE, Spool
from inspection.station.state import StationState

DISK_MB = 16
LIMIT_BYTES = 65_536  # beyond this no file of the station grows; its write-ahead log is longer
PARTS = 20  # before, during and after a fault
FULL, REFUSED, TORN = "disk full", "write errors", "torn last write"
FRAME_BYTES = 4_096 + 24  # a page of the write-ahead log with its header


def fill_disk(scene: Scene) -> Finding:
    """Fill the real file system the record lies on, and empty it again."""
    disk = scene.work / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words, no shell
    if done.returncode:
        return not_measured(
            FULL, f"{done.stderr.strip()}; run it as root, or within `unshare --user -rm`"
        )
    try:
        with Station(scene.work, scene.bundle, data_dir=disk / "data") as station:
            return _block(FULL, scene, station, filled(disk / "filler"))
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)  # noqa: S603, S607 - fixed words


def refuse_writes(scene: Scene) -> Finding:
    """Let every write of the process fail that makes a file longer, as a dying disk does."""
    with Station(scene.work, scene.bundle) as station:
        return _block(REFUSED, scene, station, limited(station))


def tear_last_write(scene: Scene) -> Finding:
    """Kill a station and cut its log within the transaction that would have come next."""
    with Station(scene.work, scene.bundle) as station:
        for _ in range(scene.options.tears):
            before = len(station.part_ids)
            station.put(PARTS)
            station.start()
            station.wait(partial(station.signalled, before + PARTS // 2), "half of the parts")
            station.kill()
            _tear(station.config.data_dir)
        station.start()
        ledger = station.finish()
    rows = (("torn write-ahead logs", scene.options.tears), ("parts", ledger.parts))
    return Finding(ledger.goals(TORN), rows)


def _block(
    name: str, scene: Scene, station: Station, fault: AbstractContextManager[None]
) -> Finding:
    """Let a station meet a disk that takes nothing, for a while."""
    station.put(PARTS)
    station.start()
    station.wait(partial(station.signalled, PARTS), "the parts before the fault")
    with fault:
        station.put(PARTS)
        station.wait(partial(station.said, StationState.BLOCKED), "BLOCKED")
        left = len(station.signals().all)
        time.sleep(scene.options.fault_s)
        left = len(station.signals().all) - left
    lifted_s = time.monotonic()
    station.put(PARTS)
    ledger = station.finish()
    recovered_s = min(s.at_s for s in station.signals().all if s.at_s > lifted_s) - lifted_s
    goals = (
        Goal.at_most(f"{name}: verdicts that left while BLOCKED", 0, left, "signals"),
        *ledger.goals(name),
        Goal.at_most(f"{name}: recovers by itself", 3, recovered_s, "s"),
    )
    return Finding(goals, ((f"{name} for, s", scene.options.fault_s),))


@contextmanager
def filled(filler: Path) -> Iterator[None]:
    """Fill a file system by one file while the block runs."""
    with filler.open("wb", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(bytes(4_096))
    yield
    filler.unlink()


@contextmanager
def limited(station: Station) -> Iterator[None]:
    """Let no file of a running station grow while the block runs."""
    before = resource.prlimit(station.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(station.pid, resource.RLIMIT_FSIZE, (LIMIT_BYTES, before[1]))
    yield
    resource.prlimit(station.pid, resource.RLIMIT_FSIZE, before)


def _tear(data_dir: Path) -> None:
    """Leave in the log what a power cut leaves: the last transaction, without its end.

    The transaction is one that never returned, made in a copy of the folder.
    """
    twin, log = data_dir.with_name("twin"), f"{DATABASE}-wal"
    shutil.copytree(data_dir, twin)
    before = (data_dir / log).read_bytes()
    with Spool(twin) as spool:
        (last,) = spool.latest(1)
        changes = {"sequence": spool.next_sequence, "event_id": "never", "part_id": "never"}
        spool.append(last.model_copy(update=changes))
        after = (twin / log).read_bytes()
    shutil.rmtree(twin)
    missing = random.randint(1, FRAME_BYTES)
    torn = after[: _end_of_change(before, after) - missing]
    garbage = os.urandom(missing) if random.random() < 0.5 else b""
    (data_dir / log).write_bytes(torn + garbage)


def _end_of_change(before: bytes, after: bytes) -> int:
    """Give the length of `after` up to its last byte that is new."""
    common = min(len(before), len(after))
    if len(after) > common:
        return len(after)
    changed = np.frombuffer(before, np.uint8)[:common] != np.frombuffer(after, np.uint8)
    return int(np.flatnonzero(changed)[-1]) + 1
