"""The command that serves the dashboard."""

from pathlib import Path
from typing import Annotated

import typer

from inspection.cli.arguments import options
from inspection.core.config import load_config


def dashboard(
    config_file: Annotated[
        Path | None, typer.Option("--config", help="configs/dashboard.yaml; else all defaults")
    ] = None,
    hub: Annotated[str | None, typer.Option(help="address of the hub")] = None,
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on")] = None,
) -> None:
    """Serve the dashboard of a hub; what stands on the command line goes before the file.

    Example: inspection dashboard --hub http://127.0.0.1:8100 --port 8101
    """
    from inspection.dashboard.server import serve
    from inspection.dashboard.settings import DashboardConfig

    settings = load_config(config_file, DashboardConfig) if config_file else DashboardConfig()
    given = {"hub": hub, "host": host, "port": port}
    changes = {name: value for name, value in given.items() if value is not None}
    serve(options(DashboardConfig, settings.model_dump(mode="json") | changes))
