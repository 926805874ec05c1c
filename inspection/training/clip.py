"""Loads a CLIP for WinCLIP from the declared places, without unpickling anything.

Either is understood: open_clip's own folder as hubs hold it (`open_clip_config.json` beside
`open_clip_model.safetensors`), which says its network itself, or a safetensors file for a network
that open_clip knows by name. The order is that of all weights: the configuration, the folder
INSPECTION_WEIGHTS, the hub (its cache first), and only when allowed, random.
"""

import json
import math
import os
from pathlib import Path
from typing import Any, Literal, cast

import open_clip
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from inspection.core.errors import TrainingError
from inspection.core.records import PixelNorm, Weights, hash_file
from inspection.training.weights import (
    FOLDER_VARIABLE,
    WeightsLog,
    find_weights,
    hash_state,
    hub_reachable,
)

CLIP = "ViT-B-16-plus-240"  # of the paper and of Anomalib
HUB_NAMES = {CLIP: "timm/vit_base_patch16_plus_clip_240.laion400m_e31"}
HUB_PREFIX = "hf-hub:"
WORDS = 77  # that its tokenizer, which is CLIP's own, makes of any sentence
ROUND_OFF = 1e-3  # of a mean or deviation, 0 to 1
CONFIG, STATE = "open_clip_config.json", "open_clip_model.safetensors"
Found = tuple[Path, Literal["file", "folder", "hub"]]


def load_clip(log: WeightsLog, pixels: PixelNorm) -> nn.Module:
    """Build the CLIP the configuration names, with the weights of the first place that has some.

    Args:
        log: of the weights that are loaded; its `backbone.name` is a network of open_clip, or
            `hf-hub:OWNER/NAME`; its `backbone.weights` a safetensors file or a folder of open_clip.
        pixels: how the graph normalises what the CLIP sees.

    Raises:
        TrainingError: there are none, they are damaged, of another network, or of one that reads
            words or sees pixels otherwise than the graph gives them.
    """
    name = log.backbone.name
    found = _find(name, log.backbone.weights) or _from_hub(name)
    if found is None:
        if not log.backbone.allow_random_weights:
            raise TrainingError(_nothing_found(name))
        model = _build(_known(name), name)
        log.add(Weights(name=name, source="random", sha256=hash_state(model.state_dict())))
        return model.eval()
    place, source = found
    state, config = (place / STATE, place / CONFIG) if place.is_dir() else (place, None)
    model = _build(_known(name) if config is None else _read_config(config, pixels), str(place))
    _fill(model, state)
    said = name if source == "hub" else place.name
    log.add(Weights(name=said, source=source, sha256=hash_file(state)))
    return model.eval()


def _find(name: str, configured: str | None) -> Found | None:
    """Find weights in the configuration or in the folder INSPECTION_WEIGHTS.

    Raises:
        TrainingError: what is named is not there, or two files fit.
    """
    if configured and Path(configured).expanduser().is_dir():
        return Path(configured).expanduser(), "file"
    named = os.environ.get(FOLDER_VARIABLE)
    if not configured and named and (folder := Path(named, name)).is_dir():
        return folder, "folder"
    found = find_weights(name, configured)
    return cast("Found | None", found)  # no CLIP ships


def _from_hub(name: str) -> Found | None:
    """Find a hub's folder of open_clip in its cache, or fetch it there; none when it is not there.

    Raises:
        TrainingError: the hub has no such model, or not both files.
    """
    hub_name = name.removeprefix(HUB_PREFIX) if name.startswith(HUB_PREFIX) else HUB_NAMES.get(name)
    if hub_name is None:
        return None
    cached = [try_to_load_from_cache(hub_name, one) for one in (CONFIG, STATE)]
    if all(isinstance(one, str) for one in cached):
        return Path(str(cached[0])).parent, "hub"
    if not hub_reachable():
        return None
    try:
        fetched = [hf_hub_download(hub_name, one) for one in (CONFIG, STATE)]
    except (OSError, ValueError) as error:
        raise TrainingError(f"{hub_name}: the hub gave no CLIP ({error})") from error
    return Path(fetched[0]).parent, "hub"


def _known(name: str) -> dict[str, Any]:
    """Give the network of a name that open_clip knows.

    Raises:
        TrainingError: it knows none.
    """
    config = open_clip.get_model_config(name)
    if config is None:
        raise TrainingError(
            f"backbone.name: '{name}' is no network of open_clip; wanted one such as {CLIP}, or "
            f"{HUB_PREFIX}OWNER/NAME; or name a folder with {CONFIG} in backbone.weights"
        )
    return cast("dict[str, Any]", config)


def _read_config(path: Path, pixels: PixelNorm) -> dict[str, Any]:
    """Give the network of a folder.

    Raises:
        TrainingError: it cannot be read, or its network wants pixels normalised otherwise.
    """
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        network, given = dict(read["model_cfg"]), dict(read.get("preprocess_cfg") or {})
        wanted = {
            key: [float(one) / 255 for one in getattr(pixels, key)] for key in ("mean", "std")
        }
        found = {
            key: [float(one) for one in given[key]] for key in wanted if given.get(key) is not None
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(
            f"{path}: cannot be read ({error!r}); wanted open_clip's configuration with "
            "'model_cfg'; fetch the folder again"
        ) from error
    for key, values in found.items():
        if not _alike(values, wanted[key]):
            raise TrainingError(
                f"{path}: preprocess_cfg.{key} is {values}; wanted "
                f"{[round(one, 4) for one in wanted[key]]}, as the graph normalises its pixels; "
                "take a CLIP that was trained so"
            )
    return network


def _alike(first: list[float], second: list[float]) -> bool:
    return len(first) == len(second) and all(
        math.isclose(one, other, abs_tol=ROUND_OFF)
        for one, other in zip(first, second, strict=True)
    )


def _require_words(config: dict[str, Any], what: str) -> None:
    """Refuse a network whose words are not those of CLIP's own tokenizer.

    Raises:
        TrainingError: it has another tokenizer, or reads longer or shorter sentences.
    """
    text = config.get("text_cfg")
    if not isinstance(text, dict):
        return  # is refused when it is built
    if tokenizer := text.get("hf_tokenizer_name"):
        raise TrainingError(
            f"{what}: text_cfg.hf_tokenizer_name is '{tokenizer}'; wanted none, for sentences are "
            f"read by CLIP's own tokenizer; take another CLIP, such as {CLIP}"
        )
    if (words := text.get("context_length", WORDS)) != WORDS:
        raise TrainingError(
            f"{what}: text_cfg.context_length is {words}; wanted {WORDS}, as CLIP's own tokenizer "
            f"gives; take another CLIP, such as {CLIP}"
        )


def _build(config: dict[str, Any], what: str) -> nn.Module:
    """Build a CLIP with random weights.

    Raises:
        TrainingError: it is no CLIP of open_clip's own two transformers, or reads other words.
    """
    _require_words(config, what)
    try:
        model = open_clip.CLIP(**config)
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        raise TrainingError(f"{what}: describes no CLIP of open_clip ({error})") from error
    if not isinstance(model.visual, open_clip.transformer.VisionTransformer):
        raise TrainingError(
            f"{what}: sees by a {type(model.visual).__name__}; wanted a vision transformer of "
            f"open_clip, such as {CLIP}; WinCLIP looks through windows of its patches"
        )
    return cast("nn.Module", model)


def _fill(model: nn.Module, path: Path) -> None:
    """Load the whole state.

    Raises:
        TrainingError: damaged, or of another network.
    """
    try:
        model.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        first = str(error).splitlines()[:2]
        raise TrainingError(
            f"{path}: cannot be loaded ({' '.join(first)}); wanted the CLIP of its network, whole; "
            "fetch it again, or name the network it was made for"
        ) from error


def _nothing_found(name: str) -> str:
    return (
        f"{name}: no CLIP found; looked at backbone.weights, the folder {FOLDER_VARIABLE} "
        f"({os.environ.get(FOLDER_VARIABLE, 'not set')}) and the hub (not reachable, or it has no "
        f"such name); put a folder {name} with {CONFIG} and {STATE}, or {name}.safetensors, into a "
        f"folder and name it in {FOLDER_VARIABLE}, or set backbone.allow_random_weights for a trial"
    )
