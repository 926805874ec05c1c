"""Bundles with one flipped bit: at the start, and as an update."""

import random
import shutil
import subprocess
from functools import partial
from pathlib import Path

from inspection.bench.faults.process import WAIT_S, Station
from inspection.bench.faults.scenario import Finding, Scene
from inspection.bench.frame import Goal
from inspection.bench.redness import make_bundle
from inspection.bundles.seal import verify_bundle
from inspection.core.command import INSPECTION
from inspection.core.decision import Verdict
from inspection.core.records import write_record

REFUSED = 1  # exit code of a command whose check said no
PARTS = 10
START, UPDATE = "corrupt bundle at the start", "corrupt bundle as an update"


def start_corrupt(scene: Scene) -> Finding:
    """Flip one bit in each file of a bundle in turn, and run the real command on it."""
    files = sorted(path for path in scene.bundle.rglob("*") if path.is_file())
    taken, rows = 0, []
    for number, path in enumerate(files[: None if scene.options.thorough else 1]):
        work = scene.work / str(number)
        bundle = shutil.copytree(scene.bundle, work / "bundle")
        name = path.relative_to(scene.bundle)
        flip_bit(bundle / name)
        write_record(work / "station.yaml", Station(work / "station", bundle).config)
        command = [*INSPECTION, "station", "run", str(work / "station.yaml"), "--once"]
        done = subprocess.run(  # noqa: S603 - our own command, no shell
            command, capture_output=True, text=True, check=False, timeout=WAIT_S
        )
        taken += done.returncode != REFUSED
        rows.append((f"a bit of {name}: exit code", done.returncode))
    return Finding((Goal.at_most(f"{START}: not refused with exit code 1", 0, taken, ""),), rows)


def update_corrupt(scene: Scene) -> Finding:
    """Offer a newer bundle with one flipped bit to a running station."""
    incoming = scene.work / "bundles"
    incoming.mkdir()
    newer = make_bundle(scene.work / "newer", day=1)
    sealed = [path for path in newer.rglob("*") if path.is_file() and path.suffix == ".bin"]
    flip_bit(random.choice(sealed))
    updates = {"bundles": (str(incoming),), "poll_ms": 50}
    with Station(scene.work, scene.bundle, updates=updates) as station:
        station.put(PARTS)
        station.start()
        station.wait(partial(station.signalled, PARTS), "the parts before")
        newer.rename(incoming / newer.name)
        station.wait(lambda: "not taken" in station.note(), "a note on the update")
        note = station.note()
        station.put(PARTS)
        ledger = station.finish()
    events = station.events()
    judged_by = {frame.bundle_id for event in events for frame in event.frames}
    faults = sum(event.verdict is Verdict.FAULT for event in events)
    others = len(judged_by - {verify_bundle(scene.bundle)})
    return Finding(
        (
            Goal.at_most(f"{UPDATE}: other bundles than the first judged", 0, others, "bundles"),
            Goal.at_most(f"{UPDATE}: FAULT", 0, faults, "parts"),
            *ledger.goals(UPDATE),
        ),
        ((f"{UPDATE}: the note on the station's page", note),),
    )


def flip_bit(path: Path) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)
