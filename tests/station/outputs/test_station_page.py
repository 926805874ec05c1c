import re
from pathlib import Path

import pytest

from inspection.core.config import parse_config
from inspection.core.decision import Verdict
from inspection.station.outputs import opcua_limits as opcua
from inspection.station.outputs.handshake import ACTION_CODES, STALE_BEATS, VERDICT_CODES
from inspection.station.outputs.modbus import (
    FUNCTIONS,
    MOST_CLIENTS,
    MOST_UNANSWERED,
    OF_ONE_ADDRESS,
    TAKING,
)
from inspection.station.outputs.nodes import (
    ACKNOWLEDGE,
    APPLICATION,
    METHOD,
    NAMESPACE,
    VARIABLES,
    Variable,
)
from inspection.station.outputs.registers import BITS, FROM_PLC, FROM_STATION, STATE_CODES, Register
from inspection.station.settings import StationConfig
from inspection.station.state import StationState

pytestmark = pytest.mark.fast

PAGE = (Path(__file__).parents[3] / "docs/station.md").read_text()
TYPES = {"uint16": "H", "uint32": "I", "float32": "f"}
LINE = " ".join(PAGE.split())


def rows(heading: str) -> list[list[str]]:
    """Give the cells of the table under a heading row."""
    table = PAGE[PAGE.index(heading) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]


def register(address: str, name: str, kind: str) -> Register:
    """Read one row of a register table."""
    if match := re.fullmatch(r"text, (\d+) registers", kind):
        return Register(int(address), name.strip("`"), f"{2 * int(match[1])}s")
    return Register(int(address), name.strip("`"), TYPES[kind])


def test_registers_the_plc_writes_are_those_of_the_program():
    """Addresses, names, types, and the notation that counts from 1."""
    found = rows("| address | 4xxxx | name |")
    assert tuple(register(row[0], row[2], row[3]) for row in found) == FROM_PLC
    assert [int(row[1]) - 40_001 for row in found] == [int(row[0]) for row in found]


def test_registers_the_station_shows_are_those_of_the_program():
    """As above, in both notations."""
    found = rows("| address | 4xxxx | 3xxxx |")
    assert tuple(register(row[0], row[3], row[4]) for row in found) == FROM_STATION
    for row in found:
        assert int(row[1]) - 40_001 == int(row[2]) - 30_001 == int(row[0])


def test_codes_are_those_of_the_program():
    """What an integrator types into the PLC."""
    meaning = {row[3].strip("`"): row[5] for row in rows("| address | 4xxxx | 3xxxx |")}
    states = ", ".join(f"{code} {state}" for state, code in STATE_CODES.items())
    verdicts = ", ".join(f"{VERDICT_CODES[verdict]} {verdict}" for verdict in Verdict)
    actions = ", ".join(f"{code} {action}" for action, code in ACTION_CODES.items())
    assert f"0 no sign of life, {states}" == meaning["state"]
    assert f"0 none, {verdicts}" in meaning["verdict"]
    assert f"{actions}; never 0" in meaning["action"]
    refusing = [0, *(STATE_CODES[state] for state in StationState if state not in TAKING)]
    assert f"while the state is {refusing[0]}, {refusing[1]} or {refusing[2]};" in LINE


def test_bits_functions_and_limits_are_those_of_the_program():
    """The numbers in running text."""
    assert re.findall(
        r"(\d) `(\w+)`", LINE[LINE.index("Coils and") : LINE.index("the simplest")]
    ) == [(str(place), name) for place, name in enumerate(BITS)]
    functions = sorted(FUNCTIONS - {5, 15})  # coils are not to be written
    assert f"Functions {', '.join(map(str, functions[:-1]))} and {functions[-1]}." in LINE
    assert f"of more than {MOST_CLIENTS} the one" in LINE
    assert f"of more than {OF_ONE_ADDRESS} of one address" in LINE
    assert f"while {MOST_UNANSWERED} parts have no result" in LINE
    assert f"at most {opcua.MOST_CLIENTS} connections, {opcua.OF_ONE_ADDRESS} of one" in LINE
    assert f"ends after {opcua.LOGIN_S:.0f} s" in LINE
    assert f"after {opcua.SESSION_S:.0f} s of silence" in LINE
    assert f"at most {opcua.MOST_SUBSCRIPTIONS} subscriptions of {opcua.MOST_ITEMS} items" in LINE
    assert f"no faster than every {opcua.FASTEST_MS} ms" in LINE
    assert f"{opcua.MOST_OPERATIONS} nodes and {opcua.MESSAGE_BYTES:,} bytes" in LINE
    assert f"{opcua.LINES_A_MINUTE} lines a minute" in LINE
    assert f"0 after {STALE_BEATS} × heartbeat_ms" in LINE


def test_nodes_are_those_of_the_program():
    """Names and types, whatever the order on the page."""
    found = {
        Variable(name, row[1])
        for row in rows("| node id")
        for name in re.findall(r"`([\w.]+)`", row[0])
    }
    assert found == {*VARIABLES, ACKNOWLEDGE}
    assert f"| `{METHOD}(UInt32)` | method, Boolean |" in PAGE
    for uri in (NAMESPACE, APPLICATION):
        assert f"`{uri}`" in PAGE


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_configuration_snippets_fit_the_model(block: str):
    """Each is a whole configuration with the defaults for the rest."""
    assert parse_config(block, StationConfig, "docs/station.md").model_fields_set
