"""Reads folders of models as Hugging Face transformers stores them, and fetches them by name.

Only safetensors are read; nothing is unpickled.
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from inspection.core.errors import ConfigError, InspectionError
from inspection.core.records import PixelNorm, hash_file, hash_json

CONFIG, WEIGHTS, SHARDS = "config.json", "model.safetensors", "model.safetensors.index.json"
PROCESSORS = ("processor_config.json", "preprocessor_config.json")  # the newer form first
PATTERNS = [CONFIG, *PROCESSORS, "*.safetensors", SHARDS]
ANSWER_S = 5.0  # longest wait for the hub
# With what most published models were trained; for folders that name nothing else.
IMAGENET = PixelNorm(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), grey_level=None)


def download(name: str) -> Path:
    """Give the folder of a model by its name on the hub, cache first.

    Raises:
        ConfigError: no such name, or no network; says how to bring it.
    """
    wanted = f"{name}: no such folder, and the hub gave no checkpoint of this name"
    try:
        return Path(snapshot_download(name, allow_patterns=PATTERNS, etag_timeout=ANSWER_S))
    except LocalEntryNotFoundError as error:
        raise ConfigError(
            f"{name}: no such folder, not in the hub's cache, and the hub does not answer; on a "
            f"machine with network run: hf download {name} --local-dir FOLDER; copy the folder "
            "here and name it instead"
        ) from error
    except HFValidationError as error:
        raise ConfigError(f"{name}: neither a folder nor a name of the hub; check it") from error
    except (HfHubHTTPError, OSError) as error:
        raise ConfigError(f"{wanted} ({error}); check the name or name a folder") from error


def hash_weights(folder: Path) -> str:
    """Hash the weights: sha256 of model.safetensors, or of the hashes of its shards.

    Raises:
        ConfigError: there are none as safetensors.
    """
    hashes = {path.name: hash_file(path) for path in weight_files(folder)}
    return next(iter(hashes.values())) if len(hashes) == 1 else hash_json(hashes)


def weight_files(folder: Path) -> list[Path]:
    """Give the files of weights that transformers will read, sorted.

    Raises:
        ConfigError: there are none as safetensors.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / SHARDS).is_file():
        names = sorted(set(read_json(folder / SHARDS).get("weight_map", {}).values()))
        if names and all((folder / name).is_file() for name in names):
            return [folder / name for name in names]
    pickled = sorted(path.name for path in folder.glob("*.bin"))
    said = f"only {', '.join(pickled)}, which would run code" if pickled else "no whole weights"
    raise ConfigError(
        f"{folder}: {said}; wanted {WEIGHTS}; load it where you trust it and save it with "
        "save_pretrained, or download it again"
    )


def pixel_norm(folder: Path) -> PixelNorm:
    """Read how the checkpoint's images were normalised, in levels of 0 to 255."""
    files = [read_json(folder / name) for name in PROCESSORS if (folder / name).is_file()]
    nested = [file["image_processor"] for file in files if "image_processor" in file]
    found: dict[str, Any] = next(
        (one for one in [*nested, *files] if {"image_mean", "image_std"} <= one.keys()), {}
    )
    if not found:
        return IMAGENET
    if not found.get("do_normalize", True):  # RT-DETR: shares of 0 to 1 as they are
        return PixelNorm(mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0), grey_level=None)
    mean, std = ([255 * value for value in found[key]] for key in ("image_mean", "image_std"))
    return PixelNorm(mean=tuple(mean), std=tuple(std), grey_level=None)


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of settings.

    Raises:
        InspectionError: damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InspectionError(f"{path}: damaged ({error}); download it again") from error
    if not isinstance(found, dict):
        raise InspectionError(f"{path}: no JSON object; download it again")
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' warnings and bars away from results; what they warn of is checked here."""
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        transformers.logging.set_verbosity(level)
