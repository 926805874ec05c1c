"""What a PLC does, and what happens to its network, for the tests of Modbus and OPC UA."""

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusIOException

from inspection.core.records import Event
from inspection.station.outputs.registers import BITS, FROM_PLC, FROM_STATION, Register

WAIT_S = 20.0


def until(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def free_port() -> int:
    """Give a port of this computer nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


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


class Memory:
    """The record a courier reads, and what it noted as delivered."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.delivered: list[int] = []

    def after(self, sequence: int, limit: int) -> list[Event]:
        """Give the next events."""
        return [event for event in self.events if event.sequence > sequence][:limit]

    def close(self) -> None:
        """Nothing is open."""


class Proxy:
    """Passes bytes between one client and a server until it is cut, without a word to either."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._target = port
        self._cut = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_: object) -> None:
        self._cut.set()
        for thread in self._threads:
            thread.join(WAIT_S)
        for end in [self._listener, *self._sockets]:
            end.close()

    def cut(self) -> None:
        """Pass nothing on any more; both connections stay open."""
        self._cut.set()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(("127.0.0.1", self._target))
        self._sockets += [client, server]
        for source, sink in ((client, server), (server, client)):
            self._threads.append(threading.Thread(target=self._pass, args=(source, sink)))
            self._threads[-1].start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        source.settimeout(0.01)
        while not self._cut.is_set():
            try:
                data = source.recv(4096)
            except TimeoutError:
                continue
            if not data or self._cut.is_set():
                return
            sink.sendall(data)
