"""The commands of the second stage, which names defects."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from inspection.cli.arguments import Json, TrustedKeys, new_app, say
from inspection.cli.tables import aligned
from inspection.core.config import load_config
from inspection.core.errors import ConfigError

if TYPE_CHECKING:
    from inspection.detectors.detector import DetectorCard
    from inspection.detectors.layout import Layout
    from inspection.detectors.scores import Scores
    from inspection.recognition.checking import LabelsReport
    from inspection.recognition.finding import LookedAt
    from inspection.recognition.teaching import RecogniserRun

recognise = new_app("Name defects: a second stage of detectors with types.")


ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="configs/recognise.yaml")]


@recognise.command("check")
def check(config_file: ConfigFile, as_json: Json = False) -> None:
    """Say what the labels hold, and everything that is wrong with them.

    Example: inspection recognise check configs/recognise.yaml
    """
    from inspection.recognition.checking import report_labels
    from inspection.recognition.settings import RecogniseConfig

    report = report_labels(load_config(config_file, RecogniseConfig).labels)
    say(report, _labels_text(report), as_json=as_json)
    raise typer.Exit(0 if report.sound else 3)


@recognise.command("train")
def train(
    config_file: ConfigFile,
    out: Annotated[Path, typer.Option(help="run folder to make")],
    as_json: Json = False,
) -> None:
    """Train a second stage on labelled defects.

    Example: inspection recognise train configs/recognise.yaml --out runs/types
    """
    from inspection.recognition.settings import RecogniseConfig
    from inspection.recognition.teaching import train_recogniser

    record = train_recogniser(load_config(config_file, RecogniseConfig), out)
    say(record, _run_text(record, out), as_json=as_json)


@recognise.command("export")
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="of recognise train")],
    out: Annotated[Path, typer.Option(help="detector's folder to make")],
    precision: Annotated[
        Literal["int8", "fp32"] | None, typer.Option(help="in place of the run's own")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make the detector of a run, in INT8 once that finds what FP32 does.

    Example: inspection recognise export runs/types --out detectors/types
    """
    from inspection.recognition.exporting import export_recogniser

    card = export_recogniser(run, out, precision)
    say(card, _card_text(card, out), as_json=as_json)


@recognise.command("import")
def import_(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help=".onnx or .xml")],
    pictures: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="parts that show some of its types")
    ],
    layout: Annotated[str, typer.Option(help="what its outputs mean: known name or YAML file")],
    types: Annotated[str, typer.Option(help="its types in its own order: crack,blowhole,…")],
    out: Annotated[Path, typer.Option(help="folder to make")],
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="of its input, px, where that is open")
    ] = None,
    least_score: Annotated[float, typer.Option(min=0, max=1, help="from which a box counts")] = 0.3,
    precision: Annotated[Literal["int8", "fp32"], typer.Option(help="of the graph")] = "int8",
    as_json: Json = False,
) -> None:
    """Take a detector of another framework, once its outputs are seen to mean what is declared.

    Example: inspection recognise import best.onnx parts/*.png --layout yolov8 --types crack,pore
    --out detectors/pores
    """
    from inspection.recognition.importing import Wish, import_detector

    wish = Wish(
        model=model,
        layout=_layout(layout),
        types=tuple(one.strip() for one in types.split(",") if one.strip()),
        name=out.name,
        size_hw=_size(size) if size else None,
        least_score=least_score,
        int8=precision == "int8",
    )
    card = import_detector(wish, pictures, out)
    say(card, _card_text(card, out), as_json=as_json)


@recognise.command("find")
def find(
    detector: Annotated[Path, typer.Argument(metavar="DETECTOR", help="of recognise import")],
    pictures: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="parts to look at")],
    out: Annotated[
        Path | None, typer.Option(help="new folder for the pictures with boxes drawn")
    ] = None,
    trusted_key: TrustedKeys = None,
    as_json: Json = False,
) -> None:
    """Find typed defects on pictures.

    Example: inspection recognise find detectors/pores parts/*.png --out found
    """
    from inspection.detectors.detector import open_detector
    from inspection.recognition.finding import find_all

    looked = find_all(
        open_detector(detector, tuple(trusted_key) if trusted_key else None), pictures, out
    )
    say(looked, _found_text(looked), as_json=as_json)
    raise typer.Exit(3 if any(one.problem for one in looked) else 0)


def _layout(name: str) -> "Layout":
    from inspection.detectors.known import KNOWN
    from inspection.detectors.layout import Layout

    if name in KNOWN:
        return KNOWN[name]
    if not Path(name).is_file():
        raise ConfigError(
            f"--layout {name}: neither a file nor known; wanted a YAML file or one of "
            f"{', '.join(KNOWN)}"
        )
    return load_config(Path(name), Layout)


def _size(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise ConfigError(f"--size {text}: wanted height and width, such as 480x640")
    return int(sides[0]), int(sides[1])


def _card_text(card: "DetectorCard", out: Path) -> str:
    from inspection.recognition.importing import SAMPLE

    height, width = card.input_hw
    words = f"{out}: {card.name}, {card.precision}, {height}×{width} px; {', '.join(card.types)}"
    if card.scores:
        how = f", quantised {card.quantised}" if card.quantised else ""
        beside = f"\nFP32: {_scores_line(card.fp32)}" if card.fp32 else ""
        found = f"{card.precision.upper()}{how}: {_scores_line(card.scores)}{beside}"
        tables = (_types_table(card.scores), *_held_table(card.scores))
        return "\n".join((words, *tables, found, f"look at {out / SAMPLE}"))
    if card.parity is None:
        return f"{words}\nlook at {out / SAMPLE}"
    agrees = f"INT8 agrees {card.parity.agreement:.3f} with FP32 on {card.parity.found} boxes"
    return f"{words}\n{agrees} of {card.parity.pictures} pictures; look at {out / SAMPLE}"


def _scores_line(scores: "Scores") -> str:
    return (
        f"boxes AP50 {scores.box_ap50:.3f}, masks {_share(scores.mask_ap50)}; "
        f"{_share(scores.recall)} found, {_share(scores.type_accuracy)} of them named right; "
        f"something on {_share(scores.good_held)} of good parts; {scores.pictures} parts judged"
    )


def _types_table(scores: "Scores") -> str:
    head = ("type", "drawn", "boxes AP50", "masks AP50", "found", "named")
    rows = [
        (
            name,
            str(one.drawn),
            _share(one.box_ap50),
            _share(one.mask_ap50),
            str(one.found),
            str(one.named),
        )
        for name, one in scores.types.items()
    ]
    return aligned([head, *rows])


def _held_table(scores: "Scores") -> Iterator[str]:
    """Say what stations would hold; nothing where no good part was judged."""
    if not scores.held:
        return
    head = ("review_from", "good parts held", "95 %", "parts with a defect")
    rows = [
        (
            f"{one.from_score:g}",
            _share(one.good.value),
            f"{one.good.low:.3f} to {one.good.high:.3f}",
            _share(one.defective.value if one.defective else None),
        )
        for one in scores.held
    ]
    yield aligned([head, *rows])
    if scores.held[-1].good.value > 0:
        yield "no score holds fewer good parts"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _run_text(record: "RecogniserRun", out: Path) -> str:
    names = tuple(record.losses[-1]) if record.losses else ()
    rows = [("pass", *names)]
    rows += [
        (str(number), *(f"{loss[name]:.3f}" for name in names))
        for number, loss in enumerate(record.losses, 1)
    ]
    weights = ", ".join(map(str, record.weights))
    return (
        f"{aligned(rows)}\n{out}: {record.config.network.name}, {', '.join(record.types)}; "
        f"{record.taught} parts taught in {record.duration_s:.0f} s; began with {weights}"
    )


def _labels_text(report: "LabelsReport") -> str:
    rows = [("type", "train", "test", "with mask")]
    rows += [(one.type, str(one.train), str(one.test), str(one.with_mask)) for one in report.types]
    counted = ", ".join(f"{count} {name}" for name, count in report.pictures.items())
    told = [f"problem  {one.message}" for one in report.problems]
    told += [f"note     {one.message}" for one in report.notes]
    verdict = "sound" if report.sound else f"{len(report.problems)} problems"
    return "\n".join([aligned(rows), f"pictures: {counted}", *told, verdict])


def _found_text(looked: "Sequence[LookedAt]") -> str:
    head = ("picture", "type", "score", "x0", "y0", "x1", "y1", "px of mask")
    rows = [
        (
            *(str(one.path), found.type, f"{found.score:.3f}"),
            *(f"{value:.1f}" for value in found.xyxy_px),
            "" if found.mask_px is None else str(found.mask_px),
        )
        for one in looked
        for found in one.found
    ]
    problems = [f"not looked at  {one.problem}" for one in looked if one.problem]
    counted = (
        f"{len(rows)} found on {len(looked) - len(problems)} pictures, {len(problems)} not read"
    )
    return "\n".join([aligned([head, *rows]), *problems, counted])
