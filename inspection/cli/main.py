"""The command line: parse, call one function, print, exit code. No logic.

Exit codes: 0 done; 1 a check said no; 2 wrong use or configuration; 3 fault; 130 interrupted.
Results go to stdout, progress and log to stderr. Each command imports its own stage, so that a
station needs nothing of the trainer.
"""

import io
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from inspection.cli.arguments import (
    BundleFolder,
    Json,
    Manifest,
    ManifestOfGate,
    TrustedKeys,
    new_app,
    say,
    with_random_weights,
)
from inspection.cli.bench import bench
from inspection.cli.bench_plant import plant as plant_benches
from inspection.cli.compress import compress
from inspection.cli.dashboard import dashboard
from inspection.cli.dataset import dataset
from inspection.cli.hub import hub
from inspection.cli.logs import configure_logging
from inspection.cli.plant import plant
from inspection.cli.recognise import recognise
from inspection.cli.replay import replay
from inspection.cli.retrain import retrain
from inspection.cli.review import review
from inspection.cli.station import station
from inspection.cli.tables import (
    bundle_text,
    card_text,
    gate_text,
    golden_text,
    judged_text,
    listed_text,
    onnx_text,
    outcome_text,
    run_text,
)
from inspection.cli.thresholds import thresholds
from inspection.cli.tune import tune
from inspection.cli.weights import weights
from inspection.core.config import load_config
from inspection.core.errors import BundleError, ConfigError, DatasetError, InspectionError

DONE, SAID_NO, WRONG_USE, FAULT, INTERRUPTED = 0, 1, 2, 3, 130
EXTRAS = {  # of what is missing, or of groups; else training
    "dask": ("cluster", "fleet"),
    "dashboard": ("dashboard", "dashboard"),
    "hub": ("hub", "hub"),
    "onnx": ("ONNX", "onnx"),
    "onnxruntime": ("ONNX", "onnx"),
    "review": ("refining", "refine"),
}

app = new_app("From a folder of parts to an INT8 verdict.")
bundle = new_app("Verify, list, show and export bundles.")
config = new_app("Explain the configuration files.")
app.add_typer(plant, name="plant")
app.add_typer(dataset, name="dataset")
app.add_typer(bundle, name="bundle")
app.add_typer(station, name="station")
app.add_typer(config, name="config")
bench.add_typer(plant_benches)  # no name: its commands are those of bench
app.add_typer(bench, name="bench")
app.add_typer(thresholds, name="thresholds")
app.add_typer(review, name="review")
app.add_typer(hub, name="hub")
app.add_typer(weights, name="weights")
app.add_typer(retrain, name="retrain")
app.add_typer(recognise, name="recognise")
app.command("dashboard")(dashboard)
app.command("tune")(tune)
app.command("compress")(compress)
app.command("replay")(replay)


def main() -> None:
    """Run the command of this process and end it with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; whatever goes wrong becomes one line on stderr and an exit code."""
    debug = "--debug" in arguments
    configure_logging(debug=debug)
    for stream in (sys.stdout, sys.stderr):  # a file may have a name this terminal cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    words = [word for word in arguments if word != "--debug"]
    try:
        app(words, prog_name="inspection")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else DONE
    except Exception as error:  # noqa: BLE001 - the top: one line and an exit code
        if debug:
            traceback.print_exc()
        code, line = explain(error, words[0] if words else "")
        typer.echo(line, err=True)
    else:
        code = DONE
    if code == INTERRUPTED:
        typer.echo("interrupted; nothing half-written was kept", err=True)
    return code


def explain(error: Exception, group: str = "") -> tuple[int, str]:
    """Give the exit code and the one line that stand for an error of a command of a group."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and missing.startswith("inspection.bench"):
        return WRONG_USE, (
            "error: benches are not installed; wanted the project's checkout; run there: "
            'pip install -e ".[dev]"'
        )
    if missing and not missing.startswith("inspection"):
        purpose, extra = EXTRAS.get(missing) or EXTRAS.get(group, ("training", "train"))
        return WRONG_USE, (
            f"error: {missing} is not installed; this command needs the {purpose} extra: "
            f'pip install "inspection[{extra}]"'
        )
    if isinstance(error, BundleError):
        return SAID_NO, f"error: {error}"
    if isinstance(error, ConfigError | DatasetError):
        return WRONG_USE, f"error: {error}"
    if isinstance(error, InspectionError):
        return FAULT, f"error: {error}"
    return FAULT, f"fault: {type(error).__name__}: {error}; --debug shows where"


@app.command("train")
def train(
    config_file: Annotated[Path, typer.Argument(metavar="CONFIG", help="configs/train.yaml")],
    data: Manifest,
    out: Annotated[Path, typer.Option(help="run folder to make")],
    allow_random_weights: Annotated[
        bool,
        typer.Option(
            "--allow-random-weights",
            help="go on with random weights when none are found; for trials",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Fit a model on the fit split of a manifest.

    Example: inspection train configs/train.yaml --data sets/plate.json --out runs/plate
    """
    from inspection.core.settings import TrainConfig
    from inspection.training.fit import train as fit_model

    settings = load_config(config_file, TrainConfig)
    if allow_random_weights:
        settings = with_random_weights(settings)
    record = fit_model(settings, data, out)
    say(record, run_text(record, out), as_json=as_json)


@app.command("export")
def export(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="the run's folder")],
    out: Annotated[Path, typer.Option(help="bundle folder to make")],
    config_file: Annotated[
        Path | None, typer.Option("--config", help="configs/export.yaml; else all defaults")
    ] = None,
    as_json: Json = False,
) -> None:
    """Turn a run into a signed INT8 bundle with calibrated thresholds, not yet gated.

    Example: inspection export runs/plate --out bundles/plate --config configs/export.yaml
    """
    from inspection.core.settings import ExportConfig
    from inspection.export.build import export_bundle

    settings = load_config(config_file, ExportConfig) if config_file else ExportConfig()
    card = export_bundle(run_folder, settings, out)
    say(card, f"bundle {out}\n{card_text(card)}", as_json=as_json)


@app.command("gate")
def gate(
    bundle_folder: BundleFolder,
    data: ManifestOfGate = None,
    as_json: Json = False,
) -> None:
    """Put a bundle to its gate: may a station open it? Exit 1 when it may not.

    Example: inspection gate bundles/plate
    """
    from inspection.export.gate import gate_bundle

    record = gate_bundle(bundle_folder, data)
    say(record, gate_text(record), as_json=as_json)
    raise typer.Exit(DONE if record.passed else SAID_NO)


@app.command("keys")
def keys(as_json: Json = False) -> None:
    """Show the public keys of this machine: for `trusted_keys` of a station, `backup` for restore.

    Example: inspection keys
    """
    from inspection.bundles.signing import own_keys

    found = own_keys()
    say(found, "\n".join(found), as_json=as_json)


@bundle.command("verify")
def verify(
    bundle_folder: BundleFolder, trusted_key: TrustedKeys = None, as_json: Json = False
) -> None:
    """Check every byte, the signature, and that this CPU computes the golden maps.

    Example: inspection bundle verify bundles/plate
    """
    from inspection.bundles.bundle import open_bundle

    keys = tuple(trusted_key) if trusted_key else None
    opened = open_bundle(bundle_folder, trusted_keys=keys, allow_refused=True)
    results = opened.selftest()
    found = {"bundle_id": opened.bundle_id, "golden": results}
    say(found, golden_text(opened, results), as_json=as_json)
    raise typer.Exit(DONE if all(golden.reproduced for golden in results) else SAID_NO)


@bundle.command("list")
def list_(
    folder: Annotated[Path, typer.Argument(help="folder that holds bundles")],
    as_json: Json = False,
) -> None:
    """List the bundles of a folder and how each stands.

    Example: inspection bundle list bundles
    """
    from inspection.bundles.store import list_bundles

    listed = list_bundles(folder)
    say(listed, listed_text(listed), as_json=as_json)


@bundle.command("show")
def show(bundle_folder: BundleFolder, as_json: Json = False) -> None:
    """Show what a bundle is, what it promises, what its gate found, which pictures taught it most.

    Example: inspection bundle show bundles/plate
    """
    from inspection.bundles.bundle import open_bundle
    from inspection.export.bank import BANK, trace

    opened = open_bundle(bundle_folder, allow_refused=True)
    traced = trace(bundle_folder) if (bundle_folder / BANK).exists() else []
    taught = dict(Counter(one.sha256 for one in traced).most_common(5))
    found = {"bundle_id": opened.bundle_id, "card": opened.card, "gate": opened.gate}
    say({**found, "taught_most": taught}, bundle_text(opened, taught), as_json=as_json)


@bundle.command("export")
def export_to(
    bundle_folder: BundleFolder,
    to: Annotated[Literal["onnx"], typer.Option(help="format")],
    out: Annotated[Path, typer.Option(help="folder to make")],
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IMAGE]...", help="parts to compare on beside the golden frames"),
    ] = None,
    precision: Annotated[
        Literal["shipped", "fp32"], typer.Option(help="the graph that ships, or its FP32 reference")
    ] = "shipped",
    allow_refused: Annotated[
        bool, typer.Option("--allow-refused", help="export though the gate refused")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a bundle's graph for other runtimes, once ONNX Runtime agrees with it on pictures.

    Example: inspection bundle export bundles/plate --to onnx --out onnx/plate
    """
    from inspection.bundles.bundle import open_bundle
    from inspection.portability.exporting import Wish, export_onnx

    opened = open_bundle(bundle_folder, allow_refused=allow_refused)
    wish = Wish(precision=precision, pictures=tuple(images or ()))
    card = export_onnx(opened, out, wish)
    say(card, f"{to} {out}\n{onnx_text(card)}", as_json=as_json)


@app.command("judge")
def judge(
    bundle_folder: BundleFolder,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="pictures of parts")],
    overlay: Annotated[Path | None, typer.Option(help="folder for overlay pictures")] = None,
    allow_refused: Annotated[
        bool, typer.Option("--allow-refused", help="judge though the gate refused")
    ] = False,
    as_json: Json = False,
) -> None:
    """Judge pictures of parts; exit 3 when one of them could not be judged.

    Example: inspection judge bundles/plate sets/plate/test/scratch/*.png --overlay overlays
    """
    from inspection.bundles.bundle import open_bundle
    from inspection.bundles.judging import judge_files
    from inspection.core.decision import Verdict

    opened = open_bundle(bundle_folder, allow_refused=allow_refused)
    judged = list(judge_files(opened, images, overlay))
    found = {"bundle_id": opened.bundle_id, "weights": opened.card.weights, "parts": judged}
    say(found, judged_text(opened, judged), as_json=as_json)
    raise typer.Exit(FAULT if any(one.verdict is Verdict.FAULT for one in judged) else DONE)


@app.command("report")
def report(
    bundle_folder: BundleFolder,
    out: Annotated[Path, typer.Option(help="HTML page to write")],
    data: ManifestOfGate = None,
    images: Annotated[
        bool, typer.Option(help="read the test images: cases, robustness; else records only")
    ] = True,
    as_json: Json = False,
) -> None:
    """Write everything known of a bundle as one self-contained HTML page.

    Example: inspection report bundles/plate --out plate.html
    """
    from inspection.report.writer import write_report

    manifest = (data or bundle_folder / "manifest.json") if images else None
    page = write_report(bundle_folder, out, manifest=manifest)
    say({"report": page}, str(page), as_json=as_json)


@app.command("demo")
def demo(
    out: Annotated[Path, typer.Option(help="folder to make, or to make anew")] = Path("demo"),
    as_json: Json = False,
) -> None:
    """Go the whole way on generated parts: make, train, export, gate, judge, station, report.

    Example: inspection demo --out demo
    """
    from inspection.demo import run_demo

    outcome = run_demo(out)
    say(outcome, outcome_text(outcome), as_json=as_json)
    raise typer.Exit(DONE if outcome.passed else SAID_NO)


@config.command("describe")
def describe() -> None:
    """Print every configuration key with its type, range, default and meaning, as Markdown.

    Example: inspection config describe > docs/config.md
    """
    from inspection.cli.manual import describe_configs

    typer.echo(describe_configs(), nl=False)
