"""The command line: parse, call one function, print, exit code. No logic.

Exit codes: 0 done; 1 a check said no; 2 wrong use or configuration; 3 fault; 130 interrupted.
Results go to stdout, progress and log to stderr. Each command imports its own stage, so that a
station needs nothing of the trainer.
"""

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from inspection.core.errors import (
    BundleError,
    ConfigError,
    DatasetError,
    GateRefused,
    InspectionError,
)

DONE, SAID_NO, WRONG_USE, FAULT, INTERRUPTED = 0, 1, 2, 3, 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="From a folder of parts to an INT8 verdict.",
    epilog="Anywhere on the line, --debug shows the traceback of an error.",
)
dataset = typer.Typer(no_args_is_help=True, help="Make, check, split and fetch sets of parts.")
bundle = typer.Typer(no_args_is_help=True, help="Verify, list and show bundles.")
station = typer.Typer(no_args_is_help=True, help="Run a line station.")
config = typer.Typer(no_args_is_help=True, help="Explain the configuration files.")
bench = typer.Typer(no_args_is_help=True, help="Race stock Anomalib in the same run.")
for name, group in {
    "dataset": dataset,
    "bundle": bundle,
    "station": station,
    "config": config,
    "bench": bench,
}.items():
    app.add_typer(group, name=name)

Json = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say what would be done, do nothing")]
Group = Annotated[
    str | None, typer.Option(help="regular expression on the file name; its match is the group")
]
CalibrateShare = Annotated[float, typer.Option(help="share of good groups for thresholds")]
TestShare = Annotated[float, typer.Option(help="share tested, where the layout has no test")]
Manifest = Annotated[Path, typer.Option("--data", metavar="MANIFEST", help="the manifest")]
BundleFolder = Annotated[Path, typer.Argument(metavar="BUNDLE", help="the bundle's folder")]
TrustedKeys = Annotated[
    list[str] | None,
    typer.Option("--trusted-key", metavar="HEX", help="whose signature counts; else anyone's"),
]


def main() -> None:
    """Run the command of this process and end it with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; whatever goes wrong becomes one line on stderr and an exit code."""
    from inspection.logs import configure_logging

    debug = "--debug" in arguments
    configure_logging(debug=debug)
    try:
        app([word for word in arguments if word != "--debug"], prog_name="inspection")
    except SystemExit as end:  # Lightning ends with 1 after Ctrl-C
        interrupted = isinstance(end.__context__, KeyboardInterrupt)
        code = INTERRUPTED if interrupted else int(end.code or 0)
    except Exception as error:  # noqa: BLE001 - the top: one line and an exit code
        if debug:
            traceback.print_exc()
        code = _complain(error)
    if code == INTERRUPTED:
        print("interrupted; nothing half-written was kept", file=sys.stderr)
    return code


def _complain(error: Exception) -> int:
    """Say on stderr what went wrong and give the exit code."""
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("inspection"):
        print(f"{error.name} is not installed; {EXTRA}", file=sys.stderr)
        return WRONG_USE
    if not isinstance(error, InspectionError):
        print(f"fault: {type(error).__name__}: {error}; --debug shows where", file=sys.stderr)
        return FAULT
    print(f"error: {error}", file=sys.stderr)
    if isinstance(error, BundleError):
        return SAID_NO
    return WRONG_USE if isinstance(error, ConfigError | DatasetError) else FAULT
