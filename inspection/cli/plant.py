"""The commands of a demonstration's plant: run, open, stop."""

import os
import signal
import sys
import webbrowser
from pathlib import Path
from threading import Event as Flag
from typing import Annotated

import typer

from inspection.cli.arguments import new_app
from inspection.cli.tables import aligned

plant = new_app("Run hub, one station and the dashboard together, as inspection demo leaves them.")
Folder = Annotated[Path, typer.Option(help="of the demonstration")]


@plant.command("run")
def run(folder: Folder = Path("demo")) -> None:
    """Run a demonstration's plant until Ctrl-C.

    Example: inspection plant run --folder demo
    """
    from inspection.plant import run as run_plant

    ended = Flag()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    run_plant(folder, ended)


@plant.command("open")
def open_dashboard(folder: Folder = Path("demo")) -> None:
    """Open the dashboard in a browser; starts the plant in the background if it does not run.

    Example: inspection plant open --folder demo
    """
    from inspection.plant import start

    found = start(folder)
    password = found.password_file.read_text(encoding="utf-8").strip()
    rows = [
        ("dashboard", found.dashboard),
        ("log in as", found.account),
        ("password", password),
        ("station's page", found.station),
        ("hub", found.hub),
    ]
    typer.echo(aligned(rows))
    # Without a screen Python finds text browsers, which take the terminal and do not return.
    if {"BROWSER", "DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys() or sys.platform == "darwin":
        webbrowser.open(found.dashboard)


@plant.command("stop")
def stop(folder: Folder = Path("demo")) -> None:
    """End a demonstration's plant.

    Example: inspection plant stop --folder demo
    """
    from inspection.plant import stop as stop_plant

    stop_plant(folder)
