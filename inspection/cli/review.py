"""The commands of the desk: refine masks, correct them, hand them on, tune what outlines them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from inspection.cli.arguments import Json, new_app, options, say
from inspection.cli.tables import aligned
from inspection.core.config import load_config

if TYPE_CHECKING:
    from inspection.core.decision import Defects
    from inspection.review.exports import ExportedDataset
    from inspection.review.reading import Sources
    from inspection.review.refining import Framing, RefinedPicture, Refinement

review = new_app("Refine, correct and hand on the masks of defects.")
Store = Annotated[Path, typer.Argument(metavar="CORRECTIONS", help="folder of review correct")]
Checkpoint = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FOLDER|shipped",
        help="a SAM on the hub, as transformers saved it, or ours",
    ),
]


@review.command("refine")
def refine(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="EVENTS|IMAGE...", help="pictures; .json, .jsonl: events, one in each line"
        ),
    ],
    bundle: Annotated[Path, typer.Option(help="the bundle's folder; it must have passed its gate")],
    out: Annotated[Path, typer.Option(help="folder to make")],
    segmenter: Annotated[
        Path | None, typer.Option(help="of review convert, or grabcut; else the one that ships")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="a station's kept frames; else pictures beside EVENTS")
    ] = None,
    roi: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(
            metavar="TOP LEFT BOTTOM RIGHT", help="of the station's recipe, fractions; else all"
        ),
    ] = None,
    mm_per_px: Annotated[float | None, typer.Option(help="scale; else px only")] = None,
    accept: Annotated[
        Path | None, typer.Option(help="YAML with accept rules; shows what they would say")
    ] = None,
    as_json: Json = False,
) -> None:
    """Outline and measure the defects of pictures; exit 3 when one of them could not be.

    Example: inspection review refine parts/*.png --bundle bundles/plate --out refined
    """
    from inspection.bundles.bundle import open_bundle
    from inspection.masks.opening import open_segmenter
    from inspection.masks.refine import Refiner
    from inspection.review.reading import find_pictures
    from inspection.review.refining import Acceptance, Desk, refine_pictures

    rules = load_config(accept, Acceptance) if accept else Acceptance()
    desk = Desk(
        open_bundle(bundle), Refiner(open_segmenter(segmenter)), _framing(roi, mm_per_px), rules
    )
    sources = find_pictures(inputs, desk.bundle.bundle_id, pictures)
    found = refine_pictures(desk, sources.pictures, out)
    say({"sources": sources, "refined": found}, _refined(sources, found), as_json=as_json)
    raise typer.Exit(3 if sources.problems or found.problems else 0)


@review.command("correct")
def correct(
    image: Annotated[Path, typer.Argument(help="picture of the part")],
    mask: Annotated[Path, typer.Option(help="as large as the picture, black and white")],
    author: Annotated[str, typer.Option(help="who drew it")],
    store: Annotated[Path, typer.Option(metavar="CORRECTIONS", help="folder of corrections")],
    defect: Annotated[str | None, typer.Option(help="kind; else the mask is of all")] = None,
    why: Annotated[str, typer.Option(help="comment")] = "",
    event: Annotated[str | None, typer.Option(help="event_id, if it was about one")] = None,
    as_json: Json = False,
) -> None:
    """Add a person's mask of a picture; an empty mask says that there is no such defect.

    Example: inspection review correct part.png --mask drawn.png --author weber --defect scratch
    --store corrections
    """
    from inspection.review.corrections import Note, add_correction, read_drawing

    about = {"defect": defect, "why": why, "event_id": event}
    note = options(Note, {"author": author, "when": datetime.now(UTC).isoformat(), **about})
    added = add_correction(store, image, read_drawing(mask), note)
    say(added, str(added.path), as_json=as_json)


@review.command("export")
def export(
    corrections: Store,
    coco: Annotated[Path | None, typer.Option(help="COCO JSON file to write")] = None,
    dataset: Annotated[Path | None, typer.Option(help="data set to make, MVTec layout")] = None,
    as_json: Json = False,
) -> None:
    """Hand reviewed defects on: as COCO JSON to other tools, as a data set to training.

    Example: inspection review export corrections --coco defects.json --dataset sets/reviewed
    """
    from inspection.review.exports import export_corrections

    made = export_corrections(corrections, coco, dataset)
    say({"coco": coco, "dataset": made}, _exported(coco, dataset, made), as_json=as_json)


@review.command("convert")
def convert(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option(help="folder that holds conversions, made if need be")],
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="[IMAGE...]", help="parts, to set INT8's ranges")
    ] = None,
    precision: Annotated[Literal["int8", "fp32"], typer.Option(help="of the encoder")] = "int8",
    as_json: Json = False,
) -> None:
    """Convert a SAM to OpenVINO for stations and desks; what is there already is kept.

    Example: inspection review convert models/sam parts/*.png --out segmenters
    """
    from inspection.review.convert import convert_segmenter

    folder = convert_segmenter(checkpoint, out, images or (), precision)
    say({"segmenter": folder}, str(folder), as_json=as_json)


@review.command("carry")
def carry(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FOLDER", help="a SAM 2 or EdgeTAM for videos, as transformers saved it"
        ),
    ],
    frames: Annotated[list[Path], typer.Argument(metavar="FRAME...", help="of one part, in order")],
    mask: Annotated[Path, typer.Option(help="drawn on one of them, black and white")],
    out: Annotated[Path, typer.Option(help="folder to make, a mask for each frame")],
    on: Annotated[int, typer.Option(help="which frame it was drawn on, from 1")] = 1,
    as_json: Json = False,
) -> None:
    """Propose the masks of a part's other frames from one that was drawn; review correct keeps one.

    Example: inspection review carry models/sam2 7_1.png 7_2.png --mask drawn.png --out proposed
    """
    from inspection.core.records import read_record
    from inspection.review.carry import RECORD, CarriedFrames, carry_files

    found = read_record(carry_files(checkpoint, frames, mask, on, out) / RECORD, CarriedFrames)
    say(found, str(found), as_json=as_json)


@review.command("tune-segmenter")
def tune_segmenter(
    checkpoint: Checkpoint,
    corrections: Annotated[Path, typer.Option(help="folder of review correct")],
    out: Annotated[Path, typer.Option(help="folder to make, to be converted")],
    as_json: Json = False,
) -> None:
    """Tune a SAM's mask decoder on corrected masks. Exit 1 when it became no better: nothing kept.

    Example: inspection review tune-segmenter models/sam --corrections corrections --out tuned
    """
    from inspection.review.corrections import read_labels
    from inspection.review.tune import tune_segmenter as tune

    record = tune(checkpoint, read_labels(corrections), out)
    say(record, str(record), as_json=as_json)
    raise typer.Exit(0 if record.kept else 1)


def _framing(roi: Sequence[float] | None, mm_per_px: float | None) -> "Framing":
    from inspection.review.refining import Framing

    sides = dict(zip(("top", "left", "bottom", "right"), roi, strict=True)) if roi else {}
    return options(Framing, {"roi": sides, "mm_per_px": mm_per_px})


def _refined(sources: "Sources", found: "Refinement") -> str:
    """Say what was found on each picture, what could not be refined, and what was left out."""
    head = ("verdict", "score", "file", "defects", "trusted", "largest", "would be")
    table = aligned([head, *map(_row, found.pictures)])
    problems = [*sources.problems, *found.problems]
    counted = (
        f"{len(found.pictures)} pictures, {len(problems)} not refined; of events: "
        f"{sources.not_kept} frames not kept, {sources.other_frames} without a score of this bundle"
    )
    return "\n".join(
        [found.made_by, table, *(f"not refined  {problem}" for problem in problems), counted]
    )


def _row(one: "RefinedPicture") -> tuple[str, ...]:
    found = one.defects.found
    count = f"{len(found)} + {one.defects.uncounted}" if one.defects.uncounted else str(len(found))
    trusted = str(sum(defect.trusted for defect in found)) if found else "-"
    would_be = f"{one.would_be}: {one.accepted}" if one.accepted else str(one.would_be)
    head = str(one.verdict), f"{one.score:.4g}", str(one.path)
    return (*head, count, trusted, _largest(one.defects), would_be)


def _largest(defects: "Defects") -> str:
    """Say area and length of the largest defect, in mm where the scale is known."""
    if not defects.found:
        return "-"
    size = max((one.size for one in defects.found), key=lambda size: size.area_px)
    scale, unit = defects.mm_per_px, "mm" if defects.mm_per_px else "px"
    area, length, _ = size.scaled(scale or 1)
    return f"{area:.4g} {unit}², {length:.4g} {unit}"


def _exported(coco: Path | None, dataset: Path | None, made: "ExportedDataset | None") -> str:
    lines = [f"COCO     {coco}"] if coco else []
    if made:
        kinds = ", ".join(f"{kind} {count}" for kind, count in made.defects.items()) or "none"
        lines.append(
            f"data set {dataset}: {made.good} good; defects: {kinds}; {made.undecided} undecided"
        )
    return "\n".join(lines)
