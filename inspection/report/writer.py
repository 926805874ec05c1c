"""Gathers the facts of one bundle and writes its page.

Facts come from the bundle's records, the images of the test split and this machine.

Nothing is chosen here: thresholds, verdicts and the gate's answer are read, never made.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from inspection.bundles.bundle import GOLDEN, Bundle, open_bundle
from inspection.core.decision import smooth
from inspection.core.defects import generate_defects
from inspection.core.errors import ConfigError, DatasetError
from inspection.core.imaging import Map, Mask, Rgb
from inspection.core.parts import load_part, load_part_mask
from inspection.core.records import (
    GateRecord,
    GateRow,
    Label,
    Manifest,
    ManifestEntry,
    Split,
    read_manifest,
    write_text,
)
from inspection.report.cases import choose_cases, draw_case, shrink
from inspection.report.edge import Edge, ProbeRequest, measure_edge, size_on_disk
from inspection.report.facts import Case, Cases, NotMeasured, ReportFacts
from inspection.report.page import GENERATED, render_page
from inspection.report.robustness import LabelledFrame, Robustness, measure_robustness

PROBE_IMAGES = 16  # enough to be no single lucky frame, few enough to hold in memory
DEFECT_SEED = 0
NO_MANIFEST = NotMeasured("no manifest was named; name the one the gate read")
NO_GATE = NotMeasured("the bundle was never put to a gate, which alone reads the test split")


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
            robustness = _robustness(bundle, gate, manifest, effort.robustness_frames, progress)
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
        images = [str(Path(manifest.root, entry.path)) for entry in manifest.of(Split.TEST)]
    request = ProbeRequest(
        bundle=str(bundle.path),
        images=tuple(images[index] for index in _spread(len(images), PROBE_IMAGES)),
        parts=parts,
    )
    measured = measure_edge(request)
    progress.advance(task)
    return measured


def _cases(bundle: Bundle, gate: GateRecord, manifest: Manifest, progress: Progress) -> Cases:
    """Draw the telling parts; generated defects have no picture on disk and are left out."""
    entries = {entry.path: entry for entry in manifest.of(Split.TEST)}
    on_disk = [
        row for row in gate.rows if row.path in entries and entries[row.path].label is row.label
    ]
    groups = choose_cases(on_disk)
    rows = [row for group in groups for row in group]
    judged = [
        (row, judge_entry(bundle, manifest, entries[row.path]))
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


def judge_entry(bundle: Bundle, manifest: Manifest, entry: ManifestEntry) -> JudgedPart:
    """Read one part of the manifest and judge it."""
    pixels = load_part(manifest, entry)
    picture, small_mask = shrink(pixels, load_part_mask(manifest, entry))
    return JudgedPart(
        picture, small_mask, smooth(bundle.judge(pixels).score_map, bundle.card.score)
    )


def _draw(bundle: Bundle, row: GateRow, part: JudgedPart, black: float) -> Case:
    card = bundle.card
    picture, heat = draw_case(
        part.picture,
        part.smoothed,
        part.mask,
        roi=card.geometry.roi,
        scale=(black, card.band.review_above),
    )
    return Case(row.path, row.label, row.defect, row.score, row.verdict, picture, heat)


def _robustness(
    bundle: Bundle, gate: GateRecord, manifest: Manifest, limit: int, progress: Progress
) -> Robustness | NotMeasured:
    if not limit:
        return NotMeasured("no disturbed frames were asked for")
    tested = manifest.of(Split.TEST)
    good = _thin([entry for entry in tested if entry.label is Label.GOOD], limit)
    defect = _thin([entry for entry in tested if entry.label is Label.DEFECT], limit)
    generated = gate.evidence == GENERATED
    frames = _frames(manifest, good, [] if generated else defect, generated=generated)
    total = len(good) * (1 + generated) + len(defect) * (not generated)
    shown = progress.track(frames, total=total, description="disturbing frames")
    return measure_robustness(
        lambda pixels: bundle.judge(pixels).score, bundle.card.band, shown, seed=DEFECT_SEED
    )


def _frames(
    manifest: Manifest,
    good: Sequence[ManifestEntry],
    defect: Sequence[ManifestEntry],
    *,
    generated: bool,
) -> Iterator[LabelledFrame]:
    """Read frames one at a time; generated defects are put on the good ones."""
    for entry in (*good, *defect):
        yield LabelledFrame(load_part(manifest, entry), entry.label)
    if generated:
        normals = (load_part(manifest, entry) for entry in good)
        for part in generate_defects(normals, DEFECT_SEED):
            yield LabelledFrame(part.pixels, Label.DEFECT)


def _thin(entries: Sequence[ManifestEntry], limit: int) -> list[ManifestEntry]:
    return [entries[index] for index in _spread(len(entries), limit)]


def _spread(count: int, limit: int) -> list[int]:
    """Give up to `limit` of `count` positions, evenly spread, so that every folder is met."""
    if count <= limit:
        return list(range(count))
    return [int(position) for position in np.linspace(0, count - 1, limit).round()]
