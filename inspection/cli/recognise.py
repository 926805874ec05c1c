"""The commands of the second stage, which names defects."""

from collections.abc import Sequence
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
    from inspection.recognition.finding import LookedAt

recognise = new_app("Name defects: a second stage of detectors with types.")


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

    looked = find_all(open_detector(detector, tuple(trusted_key or ())), pictures, out)
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
    if card.parity is None:
        return f"{words}\nlook at {out / SAMPLE}"
    agrees = f"INT8 agrees {card.parity.agreement:.3f} with FP32 on {card.parity.found} boxes"
    return f"{words}\n{agrees} of {card.parity.pictures} pictures; look at {out / SAMPLE}"


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
