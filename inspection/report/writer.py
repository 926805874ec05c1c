"""Gathers the facts of one bundle and writes its page.

Facts come from the bundle's records, the images of the test split and this machine.

Nothing is chosen here: thresholds, verdicts and the gate's answer are read, never made.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from inspection.bundles.bundle import GOLDEN, Bundle, open_bundle
from inspection.core.decision import smooth
from inspection.core.errors import ConfigError, DatasetError
from inspection.core.gate import GateRecord, GateRow
from inspection.core.imaging import Map, Mask, Rgb
from inspection.core.parts import DEFECT_SEED, HeldOut, HeldOutPart
from inspection.core.records import Manifest, read_manifest, write_text
from inspection.report.cases import choose_cases, draw_case, shrink
from inspection.report.edge import Edge, ProbeRequest, measure_edge, size_on_disk
from inspection.report.facts import Case, Cases, NotMeasured, ReportFacts
from inspection.report.page import render_page
from inspection.report.robustness import LabelledFrame, Robustness, measure_robustness

PROBE_IMAGES = 16  # enough to be no single lucky frame, few enough to hold in memory
NO_MANIFEST = NotMeasured("no manifest was named; name the one the gate read")
NO_GATE = NotMeasured("the bundle was never put to a gate, which alone decides on the test split")


@dataclass(frozen=True)
class Effort:
    """How much the report measures by itself."""

    robustness_frames: int = 40  # test frames of each class under every disturbance; 0 for none
    timed_parts: int = 200  # parts judged for the edge report card; 0 for none


DEFAULT_EFFORT = Effort()


def write_report(
    bundle_dir: Path, out: Path, *, manifest: Path | None = None, effort: Effort = DEFAULT_EFFORT
) -> Path:
    """Write the report of a bundle, refused ones included, as one self-contained HTML file.

    Args:
        bundle_dir: the bundle's folder.
        out: the page to write, whole or not at all.
        manifest: the manifest the gate read; without it no case is shown, nothing is disturbed and
            the golden frames are timed.
        effort: how many frames are disturbed and timed.

    Returns:
        `out`.

    Raises:
        BundleError: the bundle cannot be opened.
        ConfigError: `out` lies within the bundle, whose seal it would break.
        DatasetError: the manifest is not the gate's, or an image changed since.
    """
    if bundle_dir.resolve() in out.resolve().parents:
        raise ConfigError(
            f"{out}: lies within the bundle {bundle_dir} and would break its seal; "
            "name a page outside"
        )
    bundle = open_bundle(bundle_dir, allow_refused=True)
    images = None if manifest is None else read_manifest(manifest)
    write_text(out, render_page(gather_facts(bundle, images, effort)))
    return out


def gather_facts(bundle: Bundle, manifest: Manifest | None, effort: Effort) -> ReportFacts:
    """Read and measure everything the page says.

    Raises:
        DatasetError: the manifest is not the gate's, or an image changed since.
    """
    gate = bundle.gate
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    missing = NO_MANIFEST if manifest is None else NO_GATE
    cases: Cases | NotMeasured = missing
    robustness: Robustness | NotMeasured = missing
    if manifest is not None and gate is not None:
        _require_same_manifest(manifest, gate)
    console = Console(stderr=True)
    hidden = not console.is_terminal  # in a log file bars are empty lines
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        edge = _edge(bundle, manifest, effort.timed_parts, progress)
        if manifest is not None and gate is not None:
            cases = _cases(bundle, gate, manifest, progress)
            robustness = _robustness(bundle, manifest, effort.robustness_frames, progress)
    return ReportFacts(
        bundle_id=bundle.bundle_id,
        card=bundle.card,
        gate=gate,
        size_bytes=size_on_disk(bundle.path),
        made_at=datetime.now(UTC),
        cases=cases,
        edge=edge,
        robustness=robustness,
    )


def _require_same_manifest(manifest: Manifest, gate: GateRecord) -> None:
    if manifest.sha256 != gate.test_manifest_sha256:
        raise DatasetError(
            f"manifest of {manifest.root}: its hash is {manifest.sha256[:12]}, the gate read "
            f"{gate.test_manifest_sha256[:12]}; name the manifest of the gate, or gate again"
        )


def _edge(
    bundle: Bundle, manifest: Manifest | None, parts: int, progress: Progress
) -> Edge | NotMeasured:
    if not parts:
        return NotMeasured("no timed parts were asked for")
    task = progress.add_task("timing in a fresh process", total=1)
    if manifest is None:
        images = [str(bundle.path / GOLDEN / f"{name}.png") for name in bundle.card.golden]
    else:
        images = [str(path) for path in HeldOut(manifest).files]
    request = ProbeRequest(
        bundle=str(bundle.path),
        images=tuple(images[index] for index in _spread(len(images), PROBE_IMAGES)),
        parts=parts,
    )
    measured = measure_edge(request)
    progress.advance(task)
    return measured


def _cases(bundle: Bundle, gate: GateRecord, manifest: Manifest, progress: Progress) -> Cases:
    """Draw the telling parts."""
    parts = HeldOut(manifest)
    numbers = {(row.path, row.label): number for number, row in enumerate(gate.rows)}
    groups = choose_cases(gate.rows)
    rows = [row for group in groups for row in group]
    judged = [
        (row, judge_part(bundle, parts[numbers[row.path, row.label]]))
        for row in progress.track(rows, description="drawing cases")
    ]
    black = min((float(each.smoothed.min()) for _, each in judged), default=0.0)
    drawn = [_draw(bundle, row, each, black) for row, each in judged]
    first, second = len(groups[0]), len(groups[0]) + len(groups[1])
    return Cases(tuple(drawn[:first]), tuple(drawn[first:second]), tuple(drawn[second:]))


@dataclass(frozen=True)
class JudgedPart:
    """A test part as it is drawn: small picture, small true mask, map smoothed by its rule."""

    picture: Rgb
    mask: Mask | None
    smoothed: Map


def judge_part(bundle: Bundle, part: HeldOutPart) -> JudgedPart:
    """Judge one part as it will be drawn."""
    picture, small_mask = shrink(part.pixels, part.mask)
    return JudgedPart(
        picture, small_mask, smooth(bundle.judge(part.pixels).score_map, bundle.card.score)
    )


def _draw(bundle: Bundle, row: GateRow, part: JudgedPart, black: float) -> Case:
    card = bundle.card
    picture, heat = draw_case(
        part.picture,
        part.smoothed,
        part.mask,
        geometry=card.geometry,
        scale=(black, card.band.review_above),
    )
    return Case(row.path, row.label, row.defect, row.score, row.verdict, picture, heat)


def _robustness(
    bundle: Bundle, manifest: Manifest, limit: int, progress: Progress
) -> Robustness | NotMeasured:
    if not limit:
        return NotMeasured("no disturbed frames were asked for")
    parts = HeldOut(manifest)
    goods = len(parts.goods)
    numbers = [
        *_spread(goods, limit),
        *(goods + number for number in _spread(len(parts) - goods, limit)),
    ]
    frames = (LabelledFrame(part.pixels, part.label) for part in map(parts.__getitem__, numbers))
    shown = progress.track(frames, total=len(numbers), description="disturbing frames")
    return measure_robustness(
        lambda pixels: bundle.judge(pixels).score, bundle.card.band, shown, seed=DEFECT_SEED
    )


def _spread(count: int, limit: int) -> list[int]:
    """Give up to `limit` of `count` positions, evenly spread, so that every folder is met."""
    if count <= limit:
        return list(range(count))
    return [int(position) for position in np.linspace(0, count - 1, limit).round()]
