"""Trains a second stage and leaves a run folder, from which `exporting` makes a detector."""

import time
from pathlib import Path

import lightning
from pydantic import Field, StrictInt
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from inspection.core.errors import DatasetError, TrainingError
from inspection.core.folders import new_folder
from inspection.core.origin import describe_origin
from inspection.core.records import (
    Origin,
    Record,
    Weights,
    hash_file,
    hash_json,
    read_record,
    write_record,
)
from inspection.recognition.checking import require_sound
from inspection.recognition.labels import Labels
from inspection.recognition.learning import teach
from inspection.recognition.networks.building import build_network
from inspection.recognition.networks.network import Network
from inspection.recognition.settings import RecogniseConfig

RUN, NETWORK = "recogniser.json", "network.safetensors"
PACKAGES = (
    "lightning",
    "numpy",
    "opencv-python-headless",
    "openvino",
    "timm",
    "torch",
    "torchvision",
)


class RecogniserRun(Record):
    """One training of a second stage: everything that is needed to do it again."""

    config: RecogniseConfig
    types: tuple[str, ...]
    weights: tuple[Weights, ...] = Field(description="that it began with")
    labels_sha256: str = Field(description="of all labels: pictures, sides, boxes and types")
    taught: StrictInt = Field(description="pictures that taught, with and without defects")
    losses: tuple[dict[str, float], ...] = Field(description="mean of every pass")
    network_sha256: str
    duration_s: float
    origin: Origin


def train_recogniser(config: RecogniseConfig, out: Path) -> RecogniserRun:
    """Train a network on the labels that a configuration names.

    Args:
        config: labels, network, and how it learns.
        out: run folder to make, whole or not at all.

    Raises:
        DatasetError: the labels are unsound; all problems at once.
        TrainingError: weights are not found, or too little is labelled.
        ConfigError: `out` is there.
    """
    started = time.perf_counter()
    labels = require_sound(config.labels)
    with new_folder(out) as folder:
        lightning.seed_everything(config.seed, verbose=False)
        network, weights = build_network(config.network, len(labels.types), config.input_hw)
        losses = teach(network, labels, config)
        save_file(
            {name: one.contiguous() for name, one in network.state_dict().items()},
            folder / NETWORK,
        )
        record = RecogniserRun(
            config=config,
            types=labels.types,
            weights=weights,
            labels_sha256=hash_labels(labels),
            taught=len(labels.of("train")),
            losses=losses,
            network_sha256=hash_file(folder / NETWORK),
            duration_s=round(time.perf_counter() - started, 3),
            origin=describe_origin(PACKAGES),
        )
        write_record(folder / RUN, record)
    return record


def read_recogniser(run: Path) -> tuple[RecogniserRun, Network, Labels]:
    """Read a run folder: its record, the trained network in evaluation, and its labels.

    Raises:
        TrainingError: the folder is none, or damaged.
        DatasetError: the labels are gone, or others than those of the training.
    """
    if not (run / RUN).is_file():
        raise TrainingError(f"{run}: no {RUN} here; wanted a folder of inspection recognise train")
    record = read_record(run / RUN, RecogniserRun)
    if hash_file(run / NETWORK) != record.network_sha256:
        raise TrainingError(f"{run / NETWORK}: differs from its record; train again")
    labels = require_sound(record.config.labels)
    if hash_labels(labels) != record.labels_sha256:
        raise DatasetError(
            f"{run}: the labels have changed since the training, so that nobody knows which of "
            "them never taught it; put them back, or train again"
        )
    settings = record.config.network.model_copy(update={"allow_random_weights": True})
    network, _ = build_network(settings, len(record.types), record.config.input_hw)
    try:
        network.load_state_dict(load_file(run / NETWORK))
    except (SafetensorError, RuntimeError) as error:
        raise TrainingError(f"{run / NETWORK}: cannot be loaded ({error}); train again") from error
    return record, network.eval(), labels


def hash_labels(labels: Labels) -> str:
    """Hash what labels say: which pictures, on which side, which defects."""
    return hash_json(
        [
            [
                one.sha256,
                one.side,
                [[defect.type, *defect.box, str(defect.rle)] for defect in one.defects],
            ]
            for one in labels.pictures
        ]
        + [list(labels.types)]
    )
