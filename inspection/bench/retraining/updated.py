"""Updates a bundle and gates it in this one process; prints the seconds of each step."""

import json
import sys
import time
from pathlib import Path

from inspection.core.config import load_config
from inspection.core.settings import ExportConfig
from inspection.export.gate import gate_bundle
from inspection.export.update import update_bundle


def main(champion: Path, export_config: Path, manifest: Path, out: Path) -> None:
    """Make `out/bundle` of a champion and a changed manifest."""
    start_s = time.perf_counter()
    update_bundle(champion, manifest, load_config(export_config, ExportConfig), out / "bundle")
    made_s = time.perf_counter()
    gate_bundle(out / "bundle")
    end_s = time.perf_counter()
    sys.stdout.write(json.dumps({"update": made_s - start_s, "gate": end_s - made_s}) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
