"""Runs graphs on OpenVINO's CPU plugin, with one core per process. Never loads torch."""

import functools
import math
import os
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal

import numpy as np
import openvino
from numpy.typing import NDArray

from inspection.bundles.priority import lowest_priority
from inspection.core.errors import BundleUnavailable, OutOfTime

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Compiling:
    """How OpenVINO compiles a graph for this CPU."""

    mode: Literal["latency", "throughput"] = "latency"
    """latency: one frame at a time on all threads; throughput: one frame per thread."""
    threads: int = 0
    """Processor threads to use; 0 leaves it to OpenVINO."""
    gently: bool = False
    """Parts are under way: compile at the lowest priority, where the system allows it, and rest
    between golden frames."""

    @property
    def copies(self) -> int:
        """How many compiled graphs take frames at once."""
        return 1 if self.mode == "latency" else self.threads or len(os.sched_getaffinity(0))

    @property
    def hints(self) -> dict[str, str]:
        """The properties as OpenVINO names them: float32 where it is not INT8, so CPUs agree."""
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if self.mode == "throughput":  # each in the thread that asks, wherever that runs
            hints |= {"INFERENCE_NUM_THREADS": "1", "ENABLE_CPU_PINNING": "NO"}
        elif self.threads:
            hints["INFERENCE_NUM_THREADS"] = str(self.threads)
        return hints


ONE_AT_A_TIME = Compiling()


class Graph:
    """A compiled graph of one input; for several threads at once.

    For latency it is compiled once, on all processor threads. For throughput it is compiled for one
    thread, as often as there are threads, and runs in the thread that asks: OpenVINO's own streams
    cost a sixth of the frames by handing over (reports/LOG.md). A further thread waits for a free
    one.

    Args:
        model: a model of one batch of one, or the file it is in.
        compiling: how OpenVINO uses the processor.

    Raises:
        BundleUnavailable: OpenVINO cannot load or compile it. It gives one kind of error for a
            graph that is none and for memory that is short, so another try may succeed.
    """

    def __init__(self, model: openvino.Model | Path, compiling: Compiling = ONE_AT_A_TIME) -> None:
        try:
            read = openvino_core().read_model(model) if isinstance(model, Path) else model
            copies = [compile_graph(read, compiling) for _ in range(compiling.copies)]
            requests = [compiled.create_infer_request() for compiled in copies]
        except RuntimeError as error:
            name = model if isinstance(model, Path) else model.get_friendly_name()
            raise BundleUnavailable(f"{name}: OpenVINO cannot load it ({error})") from error
        self.compiling, self.compiled = compiling, copies[0]
        self._free: SimpleQueue[openvino.InferRequest] = SimpleQueue()
        for request in requests:
            self._free.put(request)

    def __call__(self, one: NDArray[Any]) -> NDArray[Any]:
        """Give what the graph makes of one input, its first output; without the batch's axis."""
        return self.outputs(one)[0]

    def outputs(self, one: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Give all outputs of one input, in their order, without the batch's axis."""
        request = self._free.get()
        try:
            request.infer({0: one[None]}, share_inputs=True)
            return tuple(np.array(tensor.data[0]) for tensor in request.output_tensors)
        finally:
            self._free.put(request)

    def warm_up(self) -> None:
        """Use every infer request once, because the first use of each is the slowest."""
        nothing = np.zeros(tuple(self.compiled.input(0).shape)[1:], np.uint8)
        for _ in range(self._free.qsize()):
            self(nothing)


class NamedGraph:
    """A compiled graph of named inputs and outputs; for several threads at once.

    It is compiled as often as `Graph` is, and a further thread waits for a free copy.

    Raises:
        BundleUnavailable: OpenVINO cannot load or compile it.
    """

    def __init__(self, model: openvino.Model | Path, compiling: Compiling = ONE_AT_A_TIME) -> None:
        self._name = str(model) if isinstance(model, Path) else model.get_friendly_name()
        try:
            read = openvino_core().read_model(model) if isinstance(model, Path) else model
            copies = [compile_graph(read, compiling) for _ in range(compiling.copies)]
            requests = [compiled.create_infer_request() for compiled in copies]
        except RuntimeError as error:
            raise BundleUnavailable(f"{self._name}: OpenVINO cannot load it ({error})") from error
        self._names = [port.get_any_name() for port in read.outputs]  # compiling adds others
        self.copies = len(requests)
        self._free: SimpleQueue[openvino.InferRequest] = SimpleQueue()
        for request in requests:
            self._free.put(request)

    def __call__(self, inputs: Tensors, within_s: float | None = None) -> Tensors:
        """Give all outputs by name, in the graph's order, with the batch's axis.

        Args:
            inputs: by name.
            within_s: until it is stopped, the wait for a free copy included; none waits for ever.

        Raises:
            OutOfTime: it was stopped.
            BundleUnavailable: OpenVINO cannot run it, as when memory is short.
        """
        begun_s = time.monotonic()
        try:
            request = self._free.get(timeout=None if within_s is None else max(within_s, 0))
        except Empty as error:
            raise self._late(within_s, "every copy of it was busy") from error
        try:
            left_s = None if within_s is None else within_s - (time.monotonic() - begun_s)
            if not _run(request, inputs, left_s):
                raise self._late(within_s, "it was stopped")
            return {
                name: np.array(request.get_output_tensor(number).data)
                for number, name in enumerate(self._names)
            }
        except RuntimeError as error:
            raise BundleUnavailable(f"{self._name}: OpenVINO cannot run it ({error})") from error
        finally:
            self._free.put(request)

    def _late(self, within_s: float | None, how: str) -> OutOfTime:
        return OutOfTime(
            f"{self._name}: no answer within {(within_s or 0) * 1000:.0f} ms, {how}; lighten the "
            "machine's load, or give it more time"
        )


def _run(request: openvino.InferRequest, inputs: Tensors, within_s: float | None) -> bool:
    """Run a request; false when it had to be stopped, after which it takes inputs again.

    A graph stops before its next operation (OpenVINO 2026.4, CPU), so within a few milliseconds.
    """
    if within_s is None:
        request.infer(dict(inputs), share_inputs=True)
        return True
    request.start_async(dict(inputs), share_inputs=True)
    if request.wait_for(max(0, math.ceil(within_s * 1000))):
        return True
    request.cancel()
    with suppress(RuntimeError):  # says that it was stopped
        request.wait()
    return False


@functools.cache
def openvino_core() -> openvino.Core:
    """Give the one core of this package.

    Each core brings its own CPU plugin, and each plugin its own stack for signal handlers. When
    the older of two goes first, the younger puts the freed stack back, and the next signal, Ctrl-C
    or a shutdown, is a segmentation fault (OpenVINO 2026.4).
    """
    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})  # a graph stays as read, whatever its file becomes
    return core


def read_graph(xml: bytes, weights: bytes, name: str) -> openvino.Model:
    """Give the model of a graph's bytes, which it copies; `name` stands in errors.

    Raises:
        BundleUnavailable: OpenVINO cannot load it.
    """
    try:
        model = openvino_core().read_model(xml, weights)
    except RuntimeError as error:
        raise BundleUnavailable(f"{name}: OpenVINO cannot load it ({error})") from error
    model.set_friendly_name(name)
    return model


def compile_graph(
    model: openvino.Model, compiling: Compiling = ONE_AT_A_TIME
) -> openvino.CompiledModel:
    """Compile any graph for this CPU."""
    with lowest_priority() if compiling.gently else nullcontext():
        return openvino_core().compile_model(model, "CPU", compiling.hints)
