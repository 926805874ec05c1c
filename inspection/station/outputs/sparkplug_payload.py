"""Writes Sparkplug B payloads: the few protobuf fields a station needs.

By hand: the packages that could (pysparkplug 0.6, mqtt-spb-wrapper 2.1) want paho-mqtt below 2 and
bring their own client. Field numbers and types are those of Eclipse Tahu's `sparkplug_b.proto`.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types of protobuf


class Kind(IntEnum):
    """Sparkplug's data types, as far as they are used."""

    INT64 = 4
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12


@dataclass(frozen=True)
class Metric:
    """One named value; none where there is none yet, or a part has no score."""

    name: str
    kind: Kind
    value: int | float | bool | str | None
    timestamp_ms: int
    """When the value came to be, since 1970 UTC."""


def encode_payload(metrics: Sequence[Metric], timestamp_ms: int, seq: int | None) -> bytes:
    """Give the bytes of a payload sent at a time; `seq`, 0 to 255, stands in all but NDEATH."""
    payload = _number(1, timestamp_ms)
    payload += b"".join(_bytes(2, _metric(metric)) for metric in metrics)
    return payload if seq is None else payload + _number(3, seq)


def wants(payload: bytes, command: str) -> bool:
    """Say whether a command payload sets the boolean metric of this name.

    Raises:
        ValueError: it is no payload.
    """
    for number, content in _fields(payload):
        if number == 2 and isinstance(content, bytes):
            metric = dict(_fields(content))
            if metric.get(1) == command.encode() and metric.get(14) == 1:
                return True
    return False


def _metric(metric: Metric) -> bytes:
    head = _bytes(1, metric.name.encode()) + _number(3, metric.timestamp_ms)
    head += _number(4, metric.kind)
    match metric.kind, metric.value:
        case _, None:
            return head + _number(7, 1)  # is_null
        case Kind.INT64, int(value):
            return head + _number(11, value)
        case Kind.DOUBLE, float(value):
            return head + _tag(13, FIXED64) + struct.pack("<d", value)
        case Kind.BOOLEAN, bool(value):
            return head + _number(14, int(value))
        case Kind.STRING, str(value):
            return head + _bytes(15, value.encode())
    raise TypeError(f"metric '{metric.name}' is {metric.value!r}; wanted {metric.kind.name}")


def _tag(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _number(number: int, value: int) -> bytes:
    return _tag(number, VARINT) + _varint(value)


def _bytes(number: int, content: bytes) -> bytes:
    return _tag(number, BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Write an integer from 0 to 2⁶⁴ - 1, seven bits a byte, lowest first."""
    if not 0 <= value < 1 << 64:
        raise ValueError(f"{value} does not fit into 64 bits without sign")
    content = bytearray()
    while value > 0x7F:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    content.append(value)
    return bytes(content)


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Give number and content of each field: integers as such, everything else as bytes."""
    at = 0
    while at < len(content):
        tag, at = _read_varint(content, at)
        if tag & 7 == VARINT:
            value, at = _read_varint(content, at)
            yield tag >> 3, value
            continue
        size, at = _read_size(content, at, tag & 7)
        if at + size > len(content):
            raise ValueError("payload ends within a field")
        yield tag >> 3, content[at : at + size]
        at += size


def _read_size(content: bytes, at: int, wire: int) -> tuple[int, int]:
    if wire == BYTES:
        return _read_varint(content, at)
    if wire in {FIXED32, FIXED64}:
        return (4 if wire == FIXED32 else 8), at
    raise ValueError(f"payload has a field of wire type {wire}")


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    """Give the integer at a place, and where it ends."""
    value = 0
    for index, byte in enumerate(content[at : at + 10]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError("payload ends within a number")
