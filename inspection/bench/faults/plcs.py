"""PLCs as destinations: clients of the station's Modbus and OPC UA servers that acknowledge."""

import asyncio
import logging
import struct
import time
from collections.abc import Callable
from threading import Event as Flag
from threading import Thread
from typing import Any, Self

from asyncua import Client, ua
from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from inspection.bench.faults.heard import Heard
from inspection.bench.faults.network import HOST, Network, free_port
from inspection.station.outputs.handshake import ACTION_CODES
from inspection.station.outputs.nodes import ACKNOWLEDGE, NAMESPACE
from inspection.station.outputs.registers import FROM_PLC, FROM_STATION
from inspection.station.outputs.settings import Action

PAUSE_S = 0.002  # between two looks
AGAIN_S = 0.1  # before a connection is made anew
_LAYOUT = struct.Struct(">" + "".join(register.format for register in FROM_STATION))
_ACKNOWLEDGE = next(register.address for register in FROM_PLC if register.name == "acknowledge")
_NODES = ("Ready", "ActionCode", "Heartbeat", "Sequence", "EventId")


class Plc:
    """A client of one of the station's servers; it talks whenever it is not stopped.

    Args:
        kind: the output's kind.
        timeout_s: after which it gives a silent connection up.
        talk: connects, and calls `see` for each look as long as `on`.
    """

    def __init__(self, kind: str, timeout_s: float, talk: Callable[["Plc"], None]) -> None:
        self.name, self.timeout_s, self._talk = kind, timeout_s, talk
        self.heard = Heard()
        self.safe: bool | None = None
        """Whether what it saw last is the safe output; none while it sees nothing."""
        self.beat = 0
        """The last heartbeat it saw."""
        port = free_port()
        self.settings: dict[str, Any] = {"kind": kind, "port": port}
        if kind == "opcua":
            self.settings["anonymous"] = True
        self.network = Network(port)
        self.go_dumb, self.heal = self.network.go_dumb, self.network.heal
        self._stopped, self._ended = Flag(), Flag()
        self.stop, self.start = self._stopped.set, self._stopped.clear
        self._thread = Thread(target=self._run, name=kind)

    def __enter__(self) -> Self:
        """Begin to look."""
        for library in ("asyncua", "pymodbus"):  # they log every lost connection
            logging.getLogger(library).setLevel(logging.CRITICAL)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Be gone for good."""
        self._ended.set()
        self.network.__exit__(*error)
        self._thread.join()

    @property
    def on(self) -> bool:
        """Whether it is neither stopped nor gone."""
        return not (self._stopped.is_set() or self._ended.is_set())

    def see(self, ready: object, action: int, beat: int, sequence: int, event_id: str) -> None:
        """Take what one look showed; a sequence of 0 is no result."""
        self.beat = beat
        self.safe = not ready and action == ACTION_CODES[Action.REJECT]
        if sequence:
            self.heard.take(sequence, event_id)

    def _run(self) -> None:
        while not self._ended.is_set():
            if self.on:
                try:
                    self._talk(self)
                except (OSError, ModbusException, ua.UaError):
                    self.safe = None
            self._ended.wait(AGAIN_S)


def talk_modbus(plc: Plc) -> None:
    """Poll the registers and acknowledge each result, as docs/station.md says."""
    first, end = FROM_STATION[0].address, FROM_STATION[-1].end
    client = ModbusTcpClient(HOST, port=plc.network.port, timeout=plc.timeout_s, retries=0)
    try:
        if not client.connect():  # type: ignore[no-untyped-call]  # pymodbus' own
            raise ConnectionError
        while plc.on:
            words = client.read_holding_registers(first, count=end - first).registers
            values = _LAYOUT.unpack(struct.pack(f">{len(words)}H", *words))
            shown = dict(zip((register.name for register in FROM_STATION), values, strict=True))
            sequence, part_id = shown["sequence"], shown["part_id_echo"].rstrip(b"\0").decode()
            plc.see(shown["ready"], shown["action"], shown["heartbeat"], sequence, part_id)
            if sequence:
                client.write_registers(_ACKNOWLEDGE, list(divmod(sequence, 2**16)))
            time.sleep(PAUSE_S)
    finally:
        client.close()  # type: ignore[no-untyped-call]  # pymodbus' own


def talk_opcua(plc: Plc) -> None:
    """Read the nodes and acknowledge each result, as docs/station.md says."""
    asyncio.run(_talk_opcua(plc))


async def _talk_opcua(plc: Plc) -> None:
    url = f"opc.tcp://{HOST}:{plc.network.port}"
    async with Client(url, timeout=plc.timeout_s) as client:
        index = await client.get_namespace_index(NAMESPACE)
        nodes = [client.get_node(ua.NodeId(f"Station.{name}", index)) for name in _NODES]
        acknowledge = client.get_node(ua.NodeId(f"Station.{ACKNOWLEDGE.name}", index))
        kind = ua.VariantType[ACKNOWLEDGE.type]
        while plc.on:
            ready, action, beat, sequence, event_id = await client.read_values(nodes)
            plc.see(ready, action, beat, sequence, event_id)
            if sequence:
                await acknowledge.write_value(sequence, kind)
            await asyncio.sleep(PAUSE_S)
