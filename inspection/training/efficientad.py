"""EfficientAD with a teacher from the declared places instead of a download of its own."""

from pathlib import Path
from typing import Any

import torch
from anomalib.models import EfficientAd
from anomalib.models.image.efficient_ad.torch_model import EfficientAdModelSize
from anomalib.utils.path import get_pretrained_weights_dir
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from inspection.core.errors import TrainingError
from inspection.core.records import Weights, hash_file
from inspection.training.weights import WeightsLog, find_weights, hash_state

DOWNLOAD = (
    "https://github.com/open-edge-platform/anomalib/releases/download/"
    "efficientad_pretrained_weights/efficientad_pretrained_weights.zip"
)


class LocalEfficientAd(EfficientAd):  # type: ignore[misc]
    """Anomalib's EfficientAD whose teacher is found when it is built, and recorded."""

    def __init__(self, log: WeightsLog, options: dict[str, Any]) -> None:
        super().__init__(**options)
        self.hparams.clear()  # the log is no hyperparameter
        size = EfficientAdModelSize(self.model_size).value
        self._load_teacher(f"pretrained_teacher_{size}", log)

    def prepare_pretrained_model(self) -> None:
        """Do nothing: the teacher was loaded when the model was built."""

    def _load_teacher(self, name: str, log: WeightsLog) -> None:
        """Load the teacher from a folder, from Anomalib's own cache, or leave it random.

        Raises:
            TrainingError: it is nowhere, or the file does not fit.
        """
        found = find_weights(name, None)
        cached = get_pretrained_weights_dir() / "efficientad_pretrained_weights" / f"{name}.pth"
        if found:
            path, source = found
            self._fill(load_file, path)
            log.add(Weights(name=path.name, source=source, sha256=hash_file(path)))
        elif cached.is_file():
            self._fill(_load_checkpoint, cached)
            log.add(Weights(name=cached.name, source="hub", sha256=hash_file(cached)))
        elif log.backbone.allow_random_weights:
            state = self.model.teacher.state_dict()
            log.add(Weights(name=name, source="random", sha256=hash_state(state)))
        else:
            raise TrainingError(
                f"{name}: no teacher found; unpack {DOWNLOAD} so that {cached} is there, put "
                f"{name}.safetensors into the folder INSPECTION_WEIGHTS names, or set "
                "backbone.allow_random_weights for a trial"
            )

    def _fill(self, load: Any, path: Path) -> None:
        try:
            self.model.teacher.load_state_dict(load(path))
        except (SafetensorError, OSError, RuntimeError) as error:
            raise TrainingError(f"{path}: is no teacher of this size: {error}") from error


def _load_checkpoint(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state
