"""Reads YAML into frozen models; reports every problem at once, with line and suggestion."""

import difflib
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from inspection.core.errors import ConfigError
from inspection.core.limits import MAX_TEXT_BYTES, read_file


class Settings(BaseModel):
    """Parent of every configuration model: frozen, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


SettingsT = TypeVar("SettingsT", bound="Settings")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader as of YAML 1.2: `1e-3` is a number; `off`, `no`, `22:00` are words."""


_INT, _FLOAT, _BOOL = (f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool"))
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, words)
        for tag, words in resolvers
        # of the booleans true and false only; the numbers of YAML 1.1 count 22:00 as minutes
        if tag not in {_INT, _FLOAT} and (tag != _BOOL or first in "tTfF")
    ]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
_DIGITS = "[0-9][0-9_]*"
for _tag, _words in (
    (_INT, r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)$"),
    (
        _FLOAT,
        rf"[-+]?({_DIGITS}\.[0-9_]*([eE][-+]?[0-9]+)?|\.[0-9][0-9_]*([eE][-+]?[0-9]+)?"
        rf"|{_DIGITS}[eE][-+]?[0-9]+|\.(inf|Inf|INF))$|\.(nan|NaN|NAN)$",
    ),
):
    _Loader.add_implicit_resolver(_tag, re.compile(_words), list("-+.0123456789"))


def load_config(path: Path, model: type[SettingsT]) -> SettingsT:
    """Read one YAML file as `model`.

    Raises:
        ConfigError: the file cannot be read, is not YAML, repeats a key, or does not fit; all
            problems at once, each with its line.
    """
    try:
        text = read_file(path, MAX_TEXT_BYTES, follow=True).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); name a YAML file") from error
    return parse_config(text, model, str(path))


def parse_config(text: str, model: type[SettingsT], name: str) -> SettingsT:
    """Read YAML text as `model`; `name` stands before each complaint."""
    try:
        node = yaml.compose(text, Loader=_Loader)
        values = yaml.load(text, Loader=_Loader)  # noqa: S506 - a child of the safe loader
        repeated = _repeated_keys(node, name)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # 2024-99-99; `&a [*a]`
        raise ConfigError(f"{name}: not YAML: {error}") from error
    if values is None:
        values, node = {}, None
    if not isinstance(values, dict):
        raise ConfigError(f"{name}:1: found a {type(values).__name__}; wanted keys and values")
    if repeated:
        raise ConfigError("\n".join(repeated))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        complaints = [_complaint(problem, node, model, name) for problem in error.errors()]
        raise ConfigError("\n".join(text for _, text in sorted(complaints))) from error


def _repeated_keys(node: yaml.Node | None, name: str) -> list[str]:
    if isinstance(node, yaml.SequenceNode):
        return [text for item in node.value for text in _repeated_keys(item, name)]
    if not isinstance(node, yaml.MappingNode):
        return []
    seen: dict[str, int] = {}
    found = []
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.value in seen:
            found.append(
                f"{name}:{line}: '{key.value}' stands already on line {seen[key.value]}; keep one"
            )
        seen[key.value] = line
        found += _repeated_keys(value, name)
    return found


def _complaint(
    problem: Any, node: yaml.Node | None, model: type[BaseModel], name: str
) -> tuple[int, str]:
    path = [part for part in problem["loc"] if isinstance(part, str | int)]
    line = _line_of(node, path)
    message = problem["msg"]
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(path[-1]), _keys_beside(model, path), n=1)
        message = "unknown key" + (f"; did you mean '{near[0]}'?" if near else "")
    where = ".".join(map(str, path)) or "whole file"
    return line, f"{name}:{line}: {where}: {message}"


def _line_of(node: yaml.Node | None, path: list[str | int]) -> int:
    line = 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == str(part)]
            if not pairs:
                continue  # a tagged union's own name, or a missing key: keep the parent's line
            line, node = pairs[-1][0].start_mark.line + 1, pairs[-1][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            if part >= len(node.value):
                break  # a missing element: keep the list's line
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _keys_beside(model: type[BaseModel], path: list[str | int]) -> list[str]:
    """Names of the fields allowed where `path` ends, following nested models by annotation."""
    models: list[type[BaseModel]] = [model]
    for part in path[:-1]:
        fields = [m.model_fields[part] for m in models if str(part) in m.model_fields]  # type: ignore[index]
        inner = [kind for field in fields for kind in _models_in(field.annotation)]
        models = inner or models
    return sorted({name for m in models for name in m.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [kind for part in getattr(annotation, "__args__", ()) for kind in _models_in(part)]
