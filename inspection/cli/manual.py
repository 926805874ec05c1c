"""Describes every configuration key for people, from the models that check the files."""

import types
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_json

from inspection.core.settings import ExportConfig, TrainConfig
from inspection.station.settings import StationConfig

FILES: dict[str, type[BaseModel]] = {
    "configs/train*.yaml": TrainConfig,
    "configs/export.yaml": ExportConfig,
    "configs/station.yaml": StationConfig,
}
HEAD = """# Configuration

Written by `inspection config describe`; a test keeps it true. Every key may be left out and then
has its default. A key that does not stand here is refused, with its line and the nearest name.
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
    """Give (key, type and range, default, meaning) of every key, those of nested models dotted."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from describe_keys(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _kind(field), _default(field), field.description or ""


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
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
    return "none" if kind is type(None) else names.get(kind, getattr(kind, "__name__", str(kind)))


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    return "required" if value is PydanticUndefined else f"`{to_json(value).decode()}`"
