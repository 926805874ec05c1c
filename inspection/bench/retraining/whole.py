"""Trains, exports and gates in this one process, as a job does; prints the seconds of each step."""

import json
import sys
import time
from itertools import pairwise
from pathlib import Path

from inspection.core.config import load_config
from inspection.core.settings import ExportConfig, TrainConfig
from inspection.export.build import export_bundle
from inspection.export.gate import gate_bundle
from inspection.training.fit import train


def main(train_config: Path, export_config: Path, manifest: Path, out: Path) -> None:
    """Make `out/bundle` of a manifest."""
    began_s = [time.perf_counter()]
    train(load_config(train_config, TrainConfig), manifest, out / "run")
    began_s.append(time.perf_counter())
    export_bundle(out / "run", load_config(export_config, ExportConfig), out / "bundle")
    began_s.append(time.perf_counter())
    gate_bundle(out / "bundle")
    began_s.append(time.perf_counter())
    train_s, export_s, gate_s = (end - begin for begin, end in pairwise(began_s))
    sys.stdout.write(json.dumps({"train": train_s, "export": export_s, "gate": gate_s}) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
