"""The Modbus registers of docs/station.md: their table, and how values become 16-bit words.

Everything is big-endian: the high byte of a word and the high word of a value come first.
"""

import math
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from inspection.core.decision import Verdict
from inspection.station.outputs.handshake import ACTION_CODES, VERDICT_CODES
from inspection.station.outputs.settings import Action
from inspection.station.state import StationState

VERSION = 1
"""Rises when a register moves or changes its meaning."""
STATE_CODES = {state: code for code, state in enumerate(StationState, start=1)}
BITS = ("release", "reject", "busy", "ready", "fault")
"""Coils and discrete inputs the station shows, from address 0."""
_MAX_FLOAT32 = 2.0**128 - 2.0**104


class Register(NamedTuple):
    """One value: zero-based address of its first word, name, type as a letter of `struct`."""

    address: int
    name: str
    format: str

    @property
    def end(self) -> int:
        """Address after its last word."""
        return self.address + struct.calcsize(f">{self.format}") // 2


FROM_PLC = (
    Register(0, "trigger", "H"),
    Register(1, "plc_heartbeat", "H"),
    Register(2, "acknowledge", "I"),
    Register(4, "part_id", "32s"),
    Register(20, "product", "16s"),
)
"""Holding registers the PLC writes, without gaps."""
FROM_STATION = (
    Register(100, "version", "H"),
    Register(101, "state", "H"),
    Register(102, "heartbeat", "H"),
    Register(103, "ready", "H"),
    Register(104, "busy", "H"),
    Register(105, "verdict", "H"),
    Register(106, "action", "H"),
    Register(107, "trigger_echo", "H"),
    Register(108, "sequence", "I"),
    Register(110, "score", "f"),
    Register(112, "deadline_ms", "I"),
    Register(114, "faults", "I"),
    Register(116, "part_id_echo", "32s"),
)
"""Holding and input registers the station shows, without gaps."""


class FromPlc(NamedTuple):
    """What a PLC wrote."""

    trigger: int
    plc_heartbeat: int
    acknowledge: int
    part_id: str
    product: str


class FromStation(NamedTuple):
    """What the station shows; numbers of any size, the registers hold their low bits."""

    state: StationState | None
    heartbeat: int
    ready: bool
    busy: bool
    verdict: Verdict | None
    action: Action
    trigger_echo: int
    sequence: int
    score: float | None
    deadline_ms: int
    faults: int
    part_id_echo: str

    def words(self) -> list[int]:
        """Give the words from FROM_STATION's first address on."""
        values = (
            VERSION,
            0 if self.state is None else STATE_CODES[self.state],
            self.heartbeat % 2**16,
            self.ready,
            self.busy,
            0 if self.verdict is None else VERDICT_CODES[self.verdict],
            ACTION_CODES[self.action],
            self.trigger_echo,
            self.sequence % 2**32,
            _float32(self.score),
            self.deadline_ms,
            self.faults % 2**32,
            _cut(self.part_id_echo, 32),
        )
        packed = struct.pack(_format(FROM_STATION), *values)
        return list(struct.unpack(f">{len(packed) // 2}H", packed))

    def bits(self) -> list[bool]:
        """Give BITS, and zeros up to 16: some PLCs read whole words only."""
        bits = [
            self.action is Action.RELEASE,
            self.action is Action.REJECT,
            self.busy,
            self.ready,
            self.verdict is Verdict.FAULT,
        ]
        return bits + [False] * (16 - len(bits))


def read_plc(words: Sequence[int]) -> FromPlc:
    """Read the words of FROM_PLC."""
    packed = struct.pack(f">{len(words)}H", *words)
    trigger, beat, acknowledge, part_id, product = struct.unpack(_format(FROM_PLC), packed)
    return FromPlc(trigger, beat, acknowledge, _text(part_id), _text(product))


def written(address: int, count: int) -> set[str]:
    """Name the registers of FROM_PLC that a write of `count` words touches."""
    return {
        register.name
        for register in FROM_PLC
        if address < register.end and register.address < address + count
    }


def _format(registers: Iterable[Register]) -> str:
    return ">" + "".join(register.format for register in registers)


def _text(data: bytes) -> str:
    """Read zero-padded UTF-8; a byte that is none becomes U+FFFD."""
    return data.split(b"\0", 1)[0].decode("utf-8", "replace").strip()


def _cut(text: str, size: int) -> bytes:
    """Give at most `size` bytes of UTF-8, whole characters; a PLC has no room for more."""
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore").encode()


def _float32(score: float | None) -> float:
    """Give NaN for none; beyond the range of float32 its end."""
    return math.nan if score is None else max(-_MAX_FLOAT32, min(_MAX_FLOAT32, score))
