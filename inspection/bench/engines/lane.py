"""One engine of the race, in a process of its own: loads a graph, judges pictures, times itself.

Only OpenVINO's lane imports the project, so that any Python may run the others; the discontinued
DeepSparse wants older packages than ours. What it says on stdout: a line with the engine's version
once it is ready, then milliseconds for every line it is sent.
"""

import argparse
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ABSENT = 3  # exit code: the engine is not installed here
UNTIMED, TIMED = 2, 3  # calls per round
Judge = Callable[[Any], Any]
"""uint8 1×H×W×3 → float32 score map 1×1×h×w."""


def openvino(model: Path, threads: int) -> Judge:
    """As a station runs it: float32 where it is not INT8."""
    from inspection.bundles.graph import Compiling, compile_graph, openvino_core

    compiled = compile_graph(openvino_core().read_model(model), Compiling(threads=threads))
    request = compiled.create_infer_request()

    def judge(pixels: Any) -> Any:
        request.infer({0: pixels}, share_inputs=True)
        return request.get_output_tensor(0).data

    return judge


def onnxruntime(model: Path, threads: int) -> Judge:
    """By its CPU provider, with all of its optimisations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = session.get_inputs()[0].name, session.get_outputs()[0].name
    return lambda pixels: session.run([names[1]], {names[0]: pixels})[0]


def torch(model: Path, threads: int) -> Judge:
    """By TorchScript, traced and frozen: normalisations are folded into convolutions."""
    import torch

    torch.set_num_threads(threads)
    graph = torch.jit.load(model)  # type: ignore[no-untyped-call]

    def judge(pixels: Any) -> Any:
        with torch.inference_mode():
            return graph(torch.from_numpy(pixels)).numpy()

    return judge


def deepsparse(model: Path, threads: int) -> Judge:
    """By its compiled engine, which is told to report to nobody."""
    os.environ["NM_DISABLE_ANALYTICS"] = "True"
    import deepsparse

    engine = deepsparse.Engine(model=str(model), batch_size=1, num_cores=threads)
    return lambda pixels: engine.run([pixels])[0]


ENGINES: Mapping[str, Callable[[Path, int], Judge]] = {
    "openvino": openvino,
    "onnxruntime": onnxruntime,
    "torch": torch,
    "deepsparse": deepsparse,
}


def main() -> None:
    """Load, judge every picture once, keep the maps, then time the first one when asked."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("model", type=Path)
    parser.add_argument("pictures", type=Path, help=".npy, uint8 (n, h, w, 3)")
    parser.add_argument("maps", type=Path, help=".npy to write, float32 (n, h', w')")
    parser.add_argument("threads", type=int)
    given = parser.parse_args()
    try:
        judge = ENGINES[given.engine](given.model, given.threads)
    except ModuleNotFoundError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(ABSENT)
    pictures = np.load(given.pictures)
    np.save(given.maps, np.stack([np.array(judge(one[None])[0, 0]) for one in pictures]))
    sys.stdout.write(f"{version(given.engine)}\n")
    sys.stdout.flush()
    gc.collect()
    gc.disable()  # its pauses belong to nobody's graph
    first = np.ascontiguousarray(pictures[:1])
    for _ in sys.stdin:
        times = []
        for _ in range(UNTIMED + TIMED):
            started = time.perf_counter()
            judge(first)
            times.append(time.perf_counter() - started)
        sys.stdout.write(f"{statistics.median(times[UNTIMED:]) * 1e3}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
