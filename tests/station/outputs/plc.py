"""A PLC that speaks Modbus, for the tests."""

import struct
import threading
from collections.abc import Callable
from contextlib import suppress

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusIOException

from inspection.station.outputs.registers import BITS, FROM_PLC, FROM_STATION, Register
from tests.station.outputs.record import WAIT_S, until


def unpack(registers: tuple[Register, ...], words: list[int]) -> dict[str, object]:
    """Read the words of a register table as an integrator would from docs/station.md."""
    layout = struct.Struct(">" + "".join(register.format for register in registers))
    values = layout.unpack(struct.pack(f">{len(words)}H", *words))
    names = [register.name for register in registers]
    return {
        name: value.rstrip(b"\0").decode() if isinstance(value, bytes) else value
        for name, value in zip(names, values, strict=True)
    }


class Plc:
    """A Modbus client that knows the registers."""

    def __init__(self, port: int, unit: int = 1) -> None:
        self.client = ModbusTcpClient("127.0.0.1", port=port, timeout=WAIT_S, retries=0)
        self.unit = unit

    def __enter__(self) -> "Plc":
        assert self.client.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def read(self) -> dict[str, object]:
        """Read all the station shows in one request."""
        first, end = FROM_STATION[0].address, FROM_STATION[-1].end
        answer = self.client.read_holding_registers(first, count=end - first, device_id=self.unit)
        return unpack(FROM_STATION, answer.registers)

    def bits(self) -> set[str]:
        """Name the discrete inputs that are set; the coils are the same."""
        inputs = self.client.read_discrete_inputs(0, count=len(BITS), device_id=self.unit).bits
        coils = self.client.read_coils(0, count=len(BITS), device_id=self.unit).bits
        assert inputs == coils
        return {name for name, bit in zip(BITS, inputs, strict=False) if bit}

    def write(self, **values: int | str) -> object:
        """Write some of the PLC's registers, in the given order, a request each."""
        answer = None
        for register in FROM_PLC:
            if register.name in values:
                value = values[register.name]
                packed = struct.pack(
                    f">{register.format}", value.encode() if isinstance(value, str) else value
                )
                words = struct.unpack(f">{len(packed) // 2}H", packed)
                answer = self.client.write_registers(
                    register.address, list(words), device_id=self.unit
                )
        return answer

    def part(self, number: int, part_id: str, product: str = "") -> object:
        """Say that a part is in place: all of the PLC's registers but the last two in one write."""
        packed = struct.pack(">HHI32s16s", number, 0, 0, part_id.encode(), product.encode())
        words = struct.unpack(f">{len(packed) // 2}H", packed)
        return self.client.write_registers(0, list(words), device_id=self.unit)

    def acknowledge_next(self, after: int = 0) -> dict[str, object]:
        """Wait for a result other than `after`, acknowledge it and give it."""
        until(lambda: self.read()["sequence"] not in (0, after))
        result = self.read()
        self.write(acknowledge=result["sequence"])
        return result


class Poller(threading.Thread):
    """A client that reads as fast as it can until the connection ends."""

    def __init__(self, port: int, look: Callable[[Plc], object]) -> None:
        super().__init__()
        self.port, self.look = port, look
        self.seen: list[object] = []
        self.start()

    def run(self) -> None:
        """Read."""
        with suppress(OSError, ConnectionException, ModbusIOException), Plc(self.port) as plc:
            plc.client.comm_params.reconnect_delay = 0
            while True:
                self.seen.append(self.look(plc))
