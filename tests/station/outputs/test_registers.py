import math

import pytest

from inspection.core.decision import Verdict
from inspection.station.outputs.registers import (
    FROM_PLC,
    FROM_STATION,
    FromPlc,
    FromStation,
    Register,
    read_plc,
    written,
)
from inspection.station.outputs.settings import Action
from inspection.station.state import StationState
from tests.station.outputs.plc import unpack

pytestmark = pytest.mark.fast

SHOWN = FromStation(
    state=StationState.READY,
    heartbeat=0x1_0002,
    ready=True,
    busy=False,
    verdict=Verdict.REJECT,
    action=Action.REJECT,
    trigger_echo=65_535,
    sequence=0x0001_0002,
    score=0.5,
    deadline_ms=600_000,
    faults=70_000,
    part_id_echo="Teil 7ä",
)


@pytest.mark.parametrize("registers", [FROM_PLC, FROM_STATION])
def test_addresses_leave_no_gaps(registers: tuple[Register, ...]):
    """So that one request reads or writes a whole table."""
    assert [r.address for r in registers[1:]] == [r.end for r in registers[:-1]]


def test_high_word_and_high_byte_come_first():
    """Whatever a PLC calls it: 0x00010002 is 1, 2; "T" before "e" is 0x5465; 0.5 is 0x3F00, 0."""
    words = SHOWN.words()
    assert words[8:12] == [1, 2, 0x3F00, 0]
    assert words[16:20] == [0x5465, 0x696C, 0x2037, 0xC3A4]


def test_values_come_back():
    """Codes are those of docs/station.md; counters show their low bits."""
    assert unpack(FROM_STATION, SHOWN.words()) == {
        "version": 1,
        "state": 2,
        "heartbeat": 2,
        "ready": 1,
        "busy": 0,
        "verdict": 3,
        "action": 2,
        "trigger_echo": 65_535,
        "sequence": 65_538,
        "score": 0.5,
        "deadline_ms": 600_000,
        "faults": 70_000,
        "part_id_echo": "Teil 7ä",
    }


def test_no_score_is_no_number():
    """NaN is above and below nothing, so no comparison in a PLC takes it for good."""
    words = SHOWN._replace(score=None).words()
    assert math.isnan(unpack(FROM_STATION, words)["score"])


def test_what_a_plc_writes_is_read():
    """Texts end at the first zero byte; spaces around them are padding."""
    words = [7, 8, 1, 2] + [0x2041, 0x2D31, 0x0042] + [0] * 13 + [0x7769, 0x6465] + [0x2020] * 6
    assert read_plc(words) == FromPlc(7, 8, 65_538, "A-1", "wide")


@pytest.mark.parametrize(
    ("address", "count", "names"),
    [
        (0, 1, {"trigger"}),
        (1, 1, {"plc_heartbeat"}),
        (3, 1, {"acknowledge"}),
        (1, 3, {"plc_heartbeat", "acknowledge"}),
        (19, 2, {"part_id", "product"}),
        (0, 28, {register.name for register in FROM_PLC}),
    ],
)
def test_write_touches_what_it_covers_even_in_part(address: int, count: int, names: set[str]):
    """A write of the heartbeat is no acknowledgement."""
    assert written(address, count) == names
