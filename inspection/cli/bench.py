"""The commands that race stock Anomalib in the same run and leave evidence as JSON and table."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from inspection.cli.arguments import Json, Manifest, new_app, say
from inspection.core.config import load_config
from inspection.core.settings import TrainConfig

bench = new_app("Race stock Anomalib in the same run; evidence goes to reports/bench.")

REPORTS = Path("reports/bench")
TRAIN, IMAGENET = Path("configs/train.yaml"), Path("configs/train-imagenet.yaml")
Out = Annotated[Path, typer.Option(help="folder of the evidence")]


@bench.command("latency")
def latency(
    out: Out = REPORTS,
    only: Annotated[list[str] | None, typer.Option(help="name of a case; repeat for more")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="rounds of each race")] = 150,
    as_json: Json = False,
) -> None:
    """Race our INT8 graphs against stock FP32 and stock PTQ, one part at a time.

    Example: inspection bench latency --only mobilenetv2
    """
    from inspection.bench.latency import run

    say_report(run(out, only=tuple(only or ()), rounds=rounds), as_json=as_json)


@bench.command("coreset")
def coreset(
    out: Out = REPORTS,
    points: Annotated[int, typer.Option(min=2, help="vectors to select from")] = 204_800,
    size: Annotated[int, typer.Option(min=1, help="vectors to select")] = 2_048,
    depth: Annotated[int, typer.Option(min=1, help="numbers per vector")] = 128,
    as_json: Json = False,
) -> None:
    """Race our k-center greedy against stock's: seconds and cover radius.

    Example: inspection bench coreset --points 20480
    """
    from inspection.bench.coreset import run

    say_report(run(out, points=points, size=size, depth=depth), as_json=as_json)


@bench.command("fit")
def fit(
    out: Out = REPORTS,
    dataset: Annotated[str, typer.Option(help="magnetic_tile, plate, fabric, board")] = (
        "magnetic_tile"
    ),
    rounds: Annotated[int, typer.Option(min=1, help="rounds of the race")] = 150,
    stfpm: Annotated[bool, typer.Option(help="also measure what INT8 costs STFPM")] = True,
    work: Annotated[Path | None, typer.Option(help="folder that keeps run and bundle")] = None,
    as_json: Json = False,
) -> None:
    """Take the main job from images to gated bundle: seconds, accuracy, latency of that bundle.

    Example: inspection bench fit --dataset plate --no-stfpm
    """
    from inspection.bench.fit import Options, run

    options = Options(dataset=dataset, rounds=rounds, stfpm=stfpm)
    say_report(run(out, options=options, work=work), as_json=as_json)


@bench.command("compress")
def compress(
    out: Out = REPORTS,
    dataset: Annotated[str, typer.Option(help="magnetic_tile, plate, fabric, board")] = (
        "magnetic_tile"
    ),
    config: Annotated[Path, typer.Option(help="the champion's training")] = IMAGENET,
    rounds: Annotated[int, typer.Option(min=1, help="rounds of the race of both graphs")] = 150,
    work: Annotated[Path | None, typer.Option(help="folder that keeps run and candidates")] = None,
    as_json: Json = False,
) -> None:
    """Compress a champion to half its time: what the ladder gives, and what it costs in recall.

    Example: inspection bench compress --dataset plate --config configs/train.yaml
    """
    from inspection.bench.compress import Options, run

    options = Options(dataset=dataset, train_config=config, rounds=rounds)
    say_report(run(out, options=options, work=work), as_json=as_json)


@bench.command("station")
def station(
    out: Out = REPORTS,
    bundle: Annotated[Path | None, typer.Option(help="gated; else one is made of plates")] = None,
    images: Annotated[Path | None, typer.Option(help="folder of JPEGs; else generated")] = None,
    parts: Annotated[int, typer.Option(min=1, help="parts in the full folder")] = 2_000,
    line: Annotated[bool, typer.Option(help="also frames in memory: latency, swaps")] = True,
    install: Annotated[bool, typer.Option(help="also weigh a fresh station install")] = True,
    as_json: Json = False,
) -> None:
    """Measure a station: trigger to verdict, four cameras, swaps, folder, memory, install.

    Example: inspection bench station --parts 500 --no-install
    """
    from inspection.bench.line import LineOptions
    from inspection.bench.station import Options, run

    memory = LineOptions() if line else None
    options = Options(bundle=bundle, images=images, parts=parts, line=memory, install=install)
    say_report(run(out, options=options), as_json=as_json)


@bench.command("choose")
def choose(
    data: Manifest,
    config: Annotated[Path, typer.Option(help="what is varied; its backbone stays")] = TRAIN,
    out: Out = REPORTS,
    as_json: Json = False,
) -> None:
    """Rank settings on calibrate normals and generated defects; the test split is not read.

    Example: inspection bench choose --data sets/plate.json --config configs/train-imagenet.yaml
    """
    from inspection.bench.choose import run

    say_report(run(out, manifest=data, config=load_config(config, TrainConfig)), as_json=as_json)


@bench.command("cost")
def cost(
    against: Annotated[str, typer.Option(help="the earlier commit")],
    out: Out = REPORTS,
    rounds: Annotated[int, typer.Option(min=2, help="of each, in turn")] = 12,
    work: Annotated[Path | None, typer.Option(help="folder that keeps what was made ready")] = None,
    as_json: Json = False,
) -> None:
    """Time a trigger's verdict and the hub's ingest against an earlier commit, in turn.

    Example: inspection bench cost --against HEAD~1
    """
    from inspection.bench.cost import Options, run

    options = Options(against=against, rounds=rounds)
    say_report(run(out, options=options, work=work), as_json=as_json)


@bench.command("faults")
def faults(
    out: Out = REPORTS,
    kills: Annotated[int, typer.Option(min=1, help="kill -9 at random points")] = 10_000,
    outage_s: Annotated[float, typer.Option(min=0, help="each outage of a destination, s")] = 60,
    only: Annotated[list[str] | None, typer.Option(help="a scenario; repeat for more")] = None,
    as_json: Json = False,
) -> None:
    """Let a real station meet every fault of a factory, and see that no part is lost.

    Example: inspection bench faults --only kills --kills 200
    """
    from inspection.bench.faults.scenario import Options
    from inspection.bench.faults.suite import run

    options = Options(kills=kills, outage_s=outage_s)
    say_report(run(out, options=options, only=tuple(only or ())), as_json=as_json)


@bench.command("soak")
def soak(
    out: Out = REPORTS,
    parts: Annotated[int, typer.Option(min=1_000, help="parts, as fast as they go")] = 200_000,
    as_json: Json = False,
) -> None:
    """Flood a station with swaps and outages mixed in: memory, loss, recovery.

    Example: inspection bench soak --parts 20000
    """
    from inspection.bench.soak import run

    say_report(run(out, parts=parts), as_json=as_json)


@bench.command("refine")
def refine(
    out: Out = REPORTS,
    bundle: Annotated[Path | None, typer.Option(help="gated; else one is made")] = None,
    segmenter: Annotated[
        Path | None, typer.Option(help="of review convert, or grabcut; else the one that ships")
    ] = None,
    sams: Annotated[bool, typer.Option(help="also compare small SAMs with torch")] = True,
    as_json: Json = False,
) -> None:
    """Measure refined defect masks against coarse ones on a set with masks.

    Example: inspection bench refine --bundle bundles/tile --no-sams
    """
    from inspection.bench.refine.suite import run

    say_report(run(out, bundle=bundle, segmenter=segmenter, sams=sams), as_json=as_json)


@bench.command("weights")
def weights(
    out: Out = REPORTS,
    dataset: Annotated[
        list[str] | None, typer.Option(help="magnetic_tile or a product; all by default")
    ] = None,
    segmenter: Annotated[
        Path | None, typer.Option(help="of review convert, or grabcut; else the one that ships")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure the weights that ship: accuracy, speed and outlines.

    Example: inspection bench weights --dataset magnetic_tile
    """
    from inspection.bench.weights import Options, run

    options = Options(segmenter=segmenter)
    if dataset:
        options = replace(options, datasets=tuple(dataset))
    say_report(run(out, options=options), as_json=as_json)


@bench.command("recognise")
def recognise(
    out: Out = REPORTS,
    epochs: Annotated[int, typer.Option(min=1, help="passes of each training")] = 40,
    backbone: Annotated[str, typer.Option(help="timm model, or formulanet")] = "mobilenetv2_100",
    only: Annotated[
        list[str] | None, typer.Option(help="centermask, maskrcnn, fcos, retinanet; repeat")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="rounds of the race")] = 150,
    work: Annotated[
        Path | None, typer.Option(help="folder that keeps labels and runs, and may hold them")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure the second stage: masks, types, what INT8 costs, speed, and the OR rule.

    Example: inspection bench recognise --epochs 5 --only centermask
    """
    from inspection.bench.recognise.suite import Name, Options, run
    from inspection.cli.arguments import choose as chosen

    options = Options(epochs=epochs, backbone=backbone, rounds=rounds)
    if only:
        options = replace(options, networks=tuple(chosen(Name, one, "--only") for one in only))
    say_report(run(out, options=options, work=work), as_json=as_json)


@bench.command("frames")
def frames(
    out: Out = REPORTS,
    parts: Annotated[int, typer.Option(min=19, help="good parts for thresholds, and tested")] = 100,
    per_defect: Annotated[int, typer.Option(min=1, help="defective parts of each type")] = 10,
    product: Annotated[str, typer.Option(help="plate, fabric or board")] = "plate",
    as_json: Json = False,
) -> None:
    """Measure parts of several frames: recall at a rate per part, against a single frame.

    Example: inspection bench frames --parts 40 --per-defect 2
    """
    from inspection.bench.frames import FramesOptions, run
    from inspection.cli.arguments import choose as chosen
    from inspection.synthetic.dataset import Product

    options = FramesOptions(
        calibrate=parts,
        good=parts,
        per_defect=per_defect,
        product=chosen(Product, product, "--product"),
    )
    say_report(run(out, options), as_json=as_json)


@bench.command("engines")
def engines(
    out: Out = REPORTS,
    only: Annotated[
        list[str] | None, typer.Option(help="patchcore, stfpm; repeat for more")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="rounds of each race")] = 150,
    deepsparse: Annotated[
        Path | None, typer.Option(metavar="PYTHON", help="that has DeepSparse; else this one")
    ] = None,
    as_json: Json = False,
) -> None:
    """Race OpenVINO, ONNX Runtime, torch and DeepSparse on the same graphs; compare their scores.

    Example: inspection bench engines --only patchcore --rounds 50
    """
    from inspection.bench.engines.suite import Options, run

    options = Options(only=tuple(only or ()), rounds=rounds)
    if deepsparse:
        options = replace(options, deepsparse=str(deepsparse))
    say_report(run(out, options=options), as_json=as_json)


@bench.command("parity")
def parity(
    out: Out = REPORTS,
    only: Annotated[list[str] | None, typer.Option(help="a model; repeat for more")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="rounds of each race")] = 20,
    limit_s: Annotated[float, typer.Option(min=1, help="longest that one model may take, s")] = 240,
    as_json: Json = False,
) -> None:
    """Try every Anomalib image model on generated parts: which keep their score in INT8, how fast.

    Example: inspection bench parity --only Padim --only Stfpm
    """
    from inspection.bench.parity.suite import Options, run

    options = Options(only=tuple(only or ()), rounds=rounds, limit_s=limit_s)
    say_report(run(out, options=options), as_json=as_json)


def say_report(report: Path, *, as_json: bool) -> None:
    """Print the page of a bench, or its JSON."""
    from inspection.bench.frame import BenchReport
    from inspection.core.records import read_record

    page = report.with_suffix(".md").read_text(encoding="utf-8")
    say(read_record(report.with_suffix(".json"), BenchReport), page, as_json=as_json)
