"""Files of bundles that change while a station judges by them: what was verified judges on."""

import os
import shutil
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspection.bench.cells import make_detector
from inspection.bench.faults.ledger import Ledger
from inspection.bench.faults.process import FAILED, PRELOADED, WAIT_S, Station, wait_for
from inspection.bench.faults.scenario import Finding, Row, Scene
from inspection.bench.frame import Goal
from inspection.bench.redness import BAND, make_bundle, make_part
from inspection.bundles.bundle import CARD, GOLDEN, GRAPH, MAPS, read_card
from inspection.core.decision import Band, Verdict, decide
from inspection.core.errors import InspectionError
from inspection.core.records import Event, write_record
from inspection.core.shipped import OPENVINO, SEGMENTER
from inspection.detectors.detector import open_detector
from inspection.masks.opening import open_segmenter
from inspection.masks.segmenter import Prompt
from inspection.station import loop
from inspection.station.state import StationState

PARTS = 14  # before and after; two cycles of good and defective ones
GOLDEN_S = 0.05  # between two golden frames judged again, here
LOOSE = Band(review_above=10, reject_above=20)  # lets every part pass
NAME = "bundle altered in use"
KEPT, OTHER = 0, 1  # exit codes of a process that asks a model twice
SIDE_PX = 64

Answer = NDArray[Any]
Alter = Callable[[Path, Path], None]
"""Changes a file; the second is the same of another bundle."""


def zero(path: Path, _other: Path) -> None:
    """Write zeros over a file in place, as large as it is."""
    with path.open("r+b") as stream:
        stream.write(bytes(path.stat().st_size))


def halve(path: Path, _other: Path) -> None:
    """Cut a file to half in place."""
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path: Path, other: Path) -> None:
    """Write another bundle's file over it in place."""
    path.write_bytes(other.read_bytes())


def exchange(path: Path, other: Path) -> None:
    """Put another bundle's file in its place, as a rename does."""
    new = path.with_name(".new")
    shutil.copy(other, new)
    new.rename(path)


ALTERATIONS: dict[str, tuple[str, Alter]] = {
    "weights zeroed in place": ("model.bin", zero),
    "weights cut to half": ("model.bin", halve),
    "another bundle's weights in place": ("model.bin", overwrite),
    "another bundle's weights renamed in": ("model.bin", exchange),
    "another bundle's card in place": (CARD, overwrite),
    "graph cut to half": (GRAPH, halve),
    "golden maps zeroed in place": (f"{GOLDEN}/{MAPS}", zero),
}


def alter_bundles(scene: Scene) -> Finding:
    """Change each file of a bundle while a station judges by it, and then start it again."""
    other = make_bundle(scene.work / "other", gain=0.1, name="other")
    card = read_card(other)
    write_record(other / CARD, card.model_copy(update={"band": LOOSE}))
    ledger, released, changed, opened = Ledger(), 0, 0, 0
    rows: list[Row] = []
    for number, (name, (file, alter)) in enumerate(ALTERATIONS.items()):
        work = scene.work / str(number)
        bundle = shutil.copytree(scene.bundle, work / "bundle")
        with Station(work / "station", bundle) as station:
            ended = _judge_altered(station, partial(alter, bundle / file, other / file))
            opened += _opens(station)
            shutil.rmtree(bundle)
            shutil.copytree(scene.bundle, bundle)
            station.start()
            ledger += station.finish()
        events = station.events()
        released += sum(map(_is_released, events))
        changed += sum(event.verdict not in {_expected(event), Verdict.FAULT} for event in events)
        faults = sum(event.verdict is Verdict.FAULT for event in events)
        rows.append((name, f"{ended}; {faults} FAULT"))
    goals = (
        Goal.at_most(f"{NAME}: defects released", 0, released, "parts"),
        Goal.at_most(f"{NAME}: other verdicts than before", 0, changed, "parts"),
        Goal.at_most(f"{NAME}: not refused by the next process", 0, opened, "bundles"),
        *ledger.goals(NAME),
    )
    return Finding(goals, rows)


def alter_finders(scene: Scene) -> Finding:
    """Change the weights of an open detector and of an open segmenter."""
    goals = []
    detector = make_detector(scene.work / "detector")
    segmenter = shutil.copytree(SEGMENTER / OPENVINO, scene.work / "segmenter")
    asked = (("detector", detector, ask_detector), ("segmenter", segmenter, ask_segmenter))
    for name, folder, ask in asked:
        for how, alter in (("zeroed in place", zero), ("cut to half", halve)):
            copy = shutil.copytree(folder, scene.work / f"{name} {how}")
            code = _code_of(partial(ask_twice, ask, copy, alter))
            what = f"{name}'s weights {how}: answers changed, or process died"
            goals.append(Goal.at_most(what, 0, float(code != KEPT), ""))
    return Finding(goals)


def judge_golden_often() -> None:
    """Let this process judge golden frames again all the time."""
    vars(loop).update(GOLDEN_S=GOLDEN_S, GOLDEN_BUSY_S=GOLDEN_S)


def ask_twice(ask: Callable[[Path], Callable[[], Answer]], folder: Path, alter: Alter) -> None:
    """Ask an open model before and after its weights were altered; ends the process."""
    answer = ask(folder)
    before = answer()
    for weights in folder.glob("*.bin"):
        alter(weights, weights)
    raise SystemExit(KEPT if np.array_equal(before, answer()) else OTHER)


def ask_detector(folder: Path) -> Callable[[], Answer]:
    """Open a detector; give what asks it for its boxes."""
    detector = open_detector(folder)
    pixels = np.zeros((SIDE_PX, 2 * SIDE_PX, 3), np.uint8)
    pixels[16:32, 16:32, 1] = 255
    return lambda: np.asarray(detector.find(pixels).boxes)


def ask_segmenter(folder: Path) -> Callable[[], Answer]:
    """Open a segmenter; give what asks it for the outline of a square."""
    segmenter = open_segmenter(folder)
    pixels = np.zeros((SIDE_PX, 2 * SIDE_PX, 3), np.uint8)
    pixels[16:32, 16:32] = 255
    prompt = Prompt(box=(12, 12, 36, 36))

    def answer() -> Answer:
        (found,) = segmenter.set_image(pixels).predict([prompt])
        return np.concatenate([found.masks.ravel(), found.sure])

    return answer


def _judge_altered(station: Station, alter: Callable[[], None]) -> str:
    """Judge parts before and after; say how the process ended."""
    station.put(PARTS)
    station.start(judge_golden_often)
    station.wait(partial(station.signalled, PARTS), "the parts before")
    alter()
    station.put(PARTS)
    wait_for(lambda: not station.alive or station.signalled(2 * PARTS), "the parts after")
    if station.alive:
        station.stop()
        return "went on judging"
    return f"ended with {station.join()}"


def _opens(station: Station) -> bool:
    """Say whether a new process judges by the bundle as it lies there."""
    station.start()
    wait_for(lambda: not station.alive or station.said(StationState.READY), "a refusal")
    if station.alive:
        station.stop()
        return True
    return station.join() != FAILED


def _expected(event: Event) -> Verdict:
    return decide(int(make_part(int(event.part_id))[0, 0, 0]) / 255, BAND)


def _is_released(event: Event) -> bool:
    return event.verdict is Verdict.PASS and _expected(event) is not Verdict.PASS


def _code_of(asks: Callable[[], None]) -> int:
    """Give the exit code of a process of its own, negative for a signal."""
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=asks, daemon=True)
    process.start()
    process.join(WAIT_S)
    if process.exitcode is None:
        process.kill()
        raise InspectionError(f"a model gave no answer within {WAIT_S:.0f} s")
    return process.exitcode
