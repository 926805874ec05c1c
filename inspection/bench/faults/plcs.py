"""PLCs as destinations: clients of the station's Modbus and OPC UA servers that acknowledge."""

import asyncio
import struct
import time
from contextlib import suppress
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

PAUSE_S = 0.01  # between two looks
AGAIN_S = 0.1  # before a connection is made anew
_LAYOUT = struct.Struct(">" + "".join(register.format for register in FROM_STATION))
_NAMES = [register.name for register in FROM_STATION]
_ACKNOWLEDGE = next(register.address for register in FROM_PLC if register.name == "acknowledge")


class _Line:
    """A thread that talks to a server of the station whenever it is not stopped."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard = Heard()
        self.safe: bool | None = None
        """Whether what was read last is the safe output; none while nothing is read."""
        self.port = free_port()
        self.network = Network(self.port)
        self.stopped, self.ended = Flag(), Flag()


class ModbusPlc:
    """A PLC that polls the registers and acknowledges each result."""

    name = "modbus"

    def __init__(self, timeout_s: float) -> None:
        self.heard = Heard()
        self.safe: bool | None = None
