"""Describes every configuration key for people, from the models that check the files."""

import types
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, IPvAnyNetwork
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_json

from inspection.core.settings import ExportConfig, TrainConfig
from inspection.dashboard.settings import DashboardConfig
from inspection.hub.settings import HubConfig
from inspection.pretraining.settings import BackboneRecipe, SegmenterRecipe
from inspection.recognition.settings import RecogniseConfig
from inspection.retraining.candidates import TuneConfig
from inspection.retraining.settings import RetrainingConfig
from inspection.station.settings import StationConfig

FILES: dict[str, type[BaseModel]] = {
    "configs/train*.yaml": TrainConfig,
    "configs/export.yaml": ExportConfig,
    "configs/station.yaml": StationConfig,
    "configs/hub.yaml": HubConfig,
    "configs/dashboard.yaml": DashboardConfig,
    "configs/retraining.yaml": RetrainingConfig,
    "configs/tune.yaml": TuneConfig,
    "configs/backbone.yaml": BackboneRecipe,
    "configs/segmenter.yaml": SegmenterRecipe,
    "configs/recognise.yaml": RecogniseConfig,
}
KIND = "kind"
HEAD = """# Configuration

Written by `inspection config describe`; a test keeps it true. Every key may be left out and then
has its default. A key that does not stand here is refused, with its line and the nearest name.
`source[folder].path` is the key `path` of a `source` whose `kind` is `folder`; `[]` stands for each
item of a list, `NAME` for each name of a mapping.
"""


def describe_configs() -> str:
    """Give docs/config.md: one table per file, one row per key."""
    blocks = [HEAD]
    for name, model in FILES.items():
        rows = [f"| `{key}` | {' | '.join(cells)} |" for key, *cells in describe_keys(model)]
        about = str(model.__doc__).removeprefix(f"{name}: ")
        about = about[0].upper() + about[1:]
        table = "| key | type and range | default | meaning |\n|---|---|---|---|\n"
        blocks.append(f"## {name}\n\n{about}\n\n{table}" + "\n".join(rows) + "\n")
    return "\n".join(blocks)


def describe_keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, ...]]:
    """Give (key, type and range, default, meaning) of every key, those of nested models dotted.

    Where one of several models may stand, its `kind` stands in brackets behind the key; in lists
    `[]` does, and in mappings the word NAME stands for each key.
    """
    for name, field in model.model_fields.items():
        if name == KIND:
            continue  # it stands in the key
        inner = list(_inner(field.annotation, f"{prefix}{name}"))
        if field.annotation not in [kind for _, kind in inner]:
            yield f"{prefix}{name}", _kind(field), _default(field), field.description or ""
        for path, kind in inner:
            yield from describe_keys(kind, f"{path}.")


def _inner(annotation: Any, path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Give every model within a type, with the path its keys have in a file."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        kind = annotation.model_fields.get(KIND)
        named = "" if kind is None else f"[{get_args(kind.annotation)[0]}]"
        yield f"{path}{named}", annotation
    elif origin in {Union, types.UnionType}:
        for one in inside:
            yield from _inner(one, path)
    elif origin is tuple:
        yield from _inner(inside[0], f"{path}[]")
    elif origin is dict:
        yield from _inner(inside[1], f"{path}.NAME")
    elif hasattr(annotation, "__metadata__"):
        yield from _inner(annotation.__origin__, path)


def _kind(field: FieldInfo) -> str:
    limits = {
        word: value
        for item in field.metadata
        for word in ("ge", "gt", "le", "lt")
        if (value := getattr(item, word, None)) is not None
    }
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    shown = ", ".join(f"{signs[word]} {value:,}" for word, value in limits.items())
    return _name(field.annotation) + (f", {shown}" if shown else "")


def _name(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(
            f"`{value.value if isinstance(value, Enum) else value}`" for value in inner
        )
    if origin in {Union, types.UnionType}:
        return " or ".join(_name(one) for one in inner)
    if origin is tuple:
        items = [_name(one) for one in inner if one is not Ellipsis]
        return f"list of {items[0]}" if Ellipsis in inner else f"({', '.join(items)})"
    if origin is dict:
        return f"mapping of {_name(inner[0])} to {_name(inner[1])}"
    if hasattr(kind, "__metadata__"):
        return _name(kind.__origin__)
    names: dict[object, str] = {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "true or false",
        Path: "path",
        IPvAnyNetwork: "address or network",
    }
    return "none" if kind is type(None) else names.get(kind, getattr(kind, "__name__", str(kind)))


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    return "required" if value is PydanticUndefined else f"`{to_json(value).decode()}`"
