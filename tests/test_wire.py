"""Whatever comes from outside is bounded: every number, list, mapping, text and date."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from inspection.bundles.signing import Deployment, SignedText
from inspection.bundles.thresholds import ThresholdRecord
from inspection.core.config import Settings
from inspection.core.gate import GateRecord
from inspection.core.limits import MAX_REASON, Count, DurationMs, Finite, Moment, Reason, cut
from inspection.core.records import Card, Event, Manifest, RunRecord
from inspection.detectors.detector import DetectorCard
from inspection.hub.api.app import make_app
from inspection.hub.backup import Contents, Stored
from inspection.hub.hub import open_hub
from inspection.hub.settings import HubConfig
from inspection.hub.wire.message import Answer, Request
from inspection.masks.sam import SegmenterCard
from inspection.station.outputs import hub as hub_output
from inspection.station.shadow import ShadowScore
from inspection.station.state import StationStatus

pytestmark = pytest.mark.fast

Schema = dict[str, Any]
RECORDS: tuple[type[BaseModel], ...] = (
    *(Event, StationStatus, ShadowScore),  # from stations, and what stations make of answers:
    *(hub_output._Stored, SignedText, Deployment, ThresholdRecord),
    *(Card, GateRecord, Manifest, RunRecord),  # of bundles and what they are made of
    *(DetectorCard, SegmenterCard),
    *(Contents, Stored),  # of backups
)
ENDS = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}
TEXT_ENDS = {"maxLength", "format", "contentEncoding"}
CLOSED = ("enum", "const")


def unbounded(schema: Schema, whole: Schema, where: str, seen: set[str]) -> Iterator[str]:
    """Say what in a schema has no bound; `whole` is the document that `$ref` is told from."""
    if "$ref" in schema:
        if (place := schema["$ref"]) not in seen:
            seen.add(place)
            yield from unbounded(_follow(place, whole), whole, place.rpartition("/")[2], seen)
        return
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from unbounded(choice, whole, where, seen)
    if not any(key in schema for key in CLOSED):
        yield from _OF_TYPE.get(schema.get("type", ""), _nothing)(schema, whole, where, seen)


def _follow(place: str, whole: Schema) -> Schema:
    for key in place.removeprefix("#/").split("/"):
        whole = whole[key]
    return whole


def _nothing(schema: Schema, whole: Schema, where: str, seen: set[str]) -> Iterator[str]:
    yield from ()


def _number(schema: Schema, whole: Schema, where: str, seen: set[str]) -> Iterator[str]:
    if not all(len(ends & schema.keys()) == 1 for ends in ENDS):
        yield f"{where}: number"


def _text(schema: Schema, whole: Schema, where: str, seen: set[str]) -> Iterator[str]:
    pattern = schema.get("pattern", "+")
    ended = pattern.endswith("$") and not ({"+", "*"} & set(pattern))
    if not (ended or TEXT_ENDS & schema.keys()):
        yield f"{where}: text"
    if schema.get("format") == "date-time" and "formatMinimum" not in schema:
        yield f"{where}: date"


def _array(schema: Schema, whole: Schema, where: str, seen: set[str]) -> Iterator[str]:
    if "maxItems" not in schema:
        yield f"{where}: array"
    for item in (schema.get("items", {}), *schema.get("prefixItems", ())):
        yield from unbounded(item, whole, f"{where}[]", seen)


def _object(schema: Schema, whole: Schema, where: str, seen: set[str]) -> Iterator[str]:
    for name, one in schema.get("properties", {}).items():
        yield from unbounded(one, whole, f"{where}.{name}", seen)
    values, names = schema.get("additionalProperties"), schema.get("propertyNames", {})
    if isinstance(values, dict):
        yield from unbounded(values, whole, f"{where}{{}}", seen)
        named = _follow(names["$ref"], whole) if "$ref" in names else names
        if "enum" not in named and not ("maxProperties" in schema and "maxLength" in named):
            yield f"{where}: mapping"


_OF_TYPE = {
    "number": _number,
    "integer": _number,
    "string": _text,
    "array": _array,
    "object": _object,
}


def found_in(model: type[BaseModel]) -> list[str]:
    schema = model.model_json_schema()
    return list(unbounded(schema, schema, model.__name__, set()))


def below(parent: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Give the package's own models below a parent."""
    for child in parent.__subclasses__():
        if child.__module__.startswith("inspection."):
            yield child
        yield from below(child)


@pytest.mark.parametrize("model", RECORDS, ids=lambda model: model.__name__)
def test_everything_in_a_record_from_outside_is_bounded(model):
    """A number, list, mapping, text or date without an end in a record is a way to break a page."""
    assert found_in(model) == []


def test_everything_a_client_may_say_is_bounded():
    """Every request model of the hub, be it of a body or of a query."""
    assert {model.__name__: found for model in below(Request) if (found := found_in(model))} == {}


def test_every_number_and_date_of_an_answer_is_bounded():
    """Pages add and square numbers of answers; how long texts and lists are, the client bounds."""
    ends = ("number", "date")
    models = [one for one in below(Answer) if one.__module__.startswith("inspection.hub.wire.")]
    found = {one for model in models for one in found_in(model) if one.endswith(ends)}
    assert (len(models) > 50, sorted(found)) == (True, [])


def _sets(constraint: object, names: set[str]) -> bool:
    return any(getattr(constraint, name, None) is not None for name in names)


def test_no_field_gives_its_type_another_bound():
    """Of two bounds on one side pydantic takes the type's, and the field's means nothing."""
    ends = ({"ge", "gt"}, {"le", "lt"}, {"max_length"}, {"min_length"})
    twice = [
        f"{model.__name__}.{name}"
        for model in {*below(Settings), *below(Answer)}
        for name, field in model.model_fields.items()
        if any(sum(_sets(one, end) for one in field.metadata) > 1 for end in ends)
    ]
    assert sorted(twice) == []


@pytest.fixture(scope="module")
def api(tmp_path_factory) -> Schema:
    """What the hub says of its routes."""
    folder = tmp_path_factory.mktemp("hub")
    config = HubConfig(
        database=f"sqlite:///{folder}/hub.sqlite",
        artefacts=str(folder / "artefacts"),
        cache_dir=folder / "cache",
    )
    hub = open_hub(config)
    try:
        return make_app(hub).openapi()
    finally:
        hub.close()


def test_every_parameter_and_body_of_the_hub_is_bounded(api):
    """Paths, queries, headers and JSON bodies, as /openapi.json tells them."""
    found = []
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            for one in operation.get("parameters", ()):
                found += unbounded(one["schema"], api, f"{where} {one['name']}", set())
            bodies = operation.get("requestBody", {}).get("content", {})
            for kind, body in bodies.items():
                found += unbounded(body["schema"], api, f"{where} {kind}", set())
    assert found == []


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Count, -1),
        (Count, 2**53 + 1),
        (Count, True),
        (DurationMs, -0.1),
        (DurationMs, 1.7e308),
        (Finite, 1.1e9),
        (Finite, float("nan")),
        (Moment, "1969-12-31T23:59:59Z"),
        (Moment, "0001-01-01T00:00:00+23:00"),
        (Moment, "9999-12-31T23:59:59-14:00"),
        (Moment, "2026-01-01T00:00:00"),
    ],
    ids=str,
)
def test_a_value_beyond_its_bounds_is_refused(kind, value):
    """The bounds hold where they are used: in the type itself."""
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(value)


def test_a_reason_that_is_too_long_is_cut_and_costs_no_record():
    """A station builds reasons from errors of any length; its event must not fail by one."""
    assert len(TypeAdapter(Reason).validate_python("x" * (MAX_REASON + 1))) == MAX_REASON
    assert cut("abcdef", 4) == "abc…"
    assert cut("abcd", 4) == "abcd"
