"""A Modbus TCP server: takes triggers from a PLC and shows it one result at a time.

Each answer is one snapshot, made when the request is served: what a PLC reads in one request
belongs together, and a station that hangs shows the safe output without anything having to run.
"""

import asyncio
import logging
import math
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Condition
from threading import Event as Flag
from typing import NamedTuple, cast

from pymodbus.constants import ExcCodes
from pymodbus.datastore import ModbusServerContext
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU

from inspection.core.decision import Verdict
from inspection.core.records import Event
from inspection.station.clock import SYSTEM_CLOCK, Clock
from inspection.station.outputs.handshake import (
    DELIVERY_S,
    FAREWELL_S,
    UNKNOWN,
    Answered,
    Handshake,
    Shown,
)
from inspection.station.outputs.registers import (
    FROM_PLC,
    FROM_STATION,
    FromStation,
    read_plc,
    written,
)
from inspection.station.outputs.server import ServerThread, crowd
from inspection.station.outputs.settings import ActionSettings, ModbusSettings
from inspection.station.sources.trigger import Trigger
from inspection.station.state import StationState, StationStatus

logger = logging.getLogger(__name__)

MOST_CLIENTS = 32
"""Connections; one more ends the one that has been silent for longest."""
OF_ONE_ADDRESS = 8
"""The same, of one address: who opens many ends its own."""
MOST_UNANSWERED = 1_000
"""Triggers that wait for their result; a further one is refused as busy."""
TAKING = {StationState.READY, StationState.IMPAIRED, StationState.BLOCKED}
"""States in which every part gets its event; in others a new trigger is refused as busy."""
BIT_READS, BIT_WRITES = {1, 2}, {5, 15}
FUNCTIONS = BIT_READS | BIT_WRITES | {3, 4, 6, 16, 22, 23}
"""Codes of the functions that are served."""
_HEADER = struct.Struct(">HHHB")  # transaction, protocol 0, bytes that follow, unit


class _Accepted(NamedTuple):
    """A trigger that was taken from the PLC."""

    serial: int
    trigger: Trigger
    sequence: int  # of an event judged before it


class PlcTriggers:
    """The parts a PLC counted: those no camera was asked for yet, and those without a result.

    The PLC's numbers come again – `1, 0, 1` are two parts – so each trigger that is taken gets a
    serial here, and only that says whether a result belongs to the part in place.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._untaken: deque[Trigger] = deque()
        self._unanswered: deque[_Accepted] = deque()
        self._serial = 0
        self._in_place = UNKNOWN
        self._answer = ("", UNKNOWN)  # the last event and its trigger
        self._closed = False
        self.frames = 1
        """Triggers in a row, of one part id, that are one part: its frames."""

    @property
    def in_place(self) -> int:
        """Serial of the part in place; 0 without one."""
        return self._in_place.serial

    @property
    def busy(self) -> bool:
        """Whether the part in place has no result yet."""
        with self._changed:
            newest = self._unanswered[-1].serial if self._unanswered else 0
            return self._in_place != UNKNOWN and self._in_place.serial == newest

    def brings(self, number: int) -> bool:
        """Say whether a number the PLC writes means that a new part is in place.

        The same number again is no new part, and 0 says that none is in place.
        """
        return number not in (self._in_place.number, 0)

    def count(self, trigger: Trigger, sequence: int) -> bool:
        """Take what the PLC counted; `sequence` is that of an event judged before it.

        False, and nothing happens, when it is a new part that would get no result.
        """
        with self._changed:
            is_new = self.brings(trigger.number)
            if is_new and (self._closed or len(self._unanswered) >= MOST_UNANSWERED):
                return False
            if trigger.number != self._in_place.number:
                self._untaken = deque(left._replace(overtaken=True) for left in self._untaken)
                self._in_place = UNKNOWN
            if is_new:
                self._serial += 1
                self._in_place = Answered(self._serial, trigger.number)
                self._untaken.append(trigger)
                self._unanswered.append(_Accepted(self._serial, trigger, sequence))
                self._changed.notify_all()
            return True

    def wait(self, timeout_s: float) -> Trigger | None:
        """Give each trigger once, overtaken or not; none when there was none in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._untaken or self._closed, timeout_s)
            return self._untaken.popleft() if self._untaken else None

    def close(self) -> None:
        """Take no new part from now on; what was taken is still given."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def answered_by(self, event: Event) -> Answered:
        """Give the trigger an event answers, by its part id; UNKNOWN when there is none.

        An event older than the trigger is of an earlier look at a part with the same id. Events
        come in the order of their triggers, so those before the one found will have none.
        """
        with self._changed:
            if self._answer[0] != event.event_id:
                self._answer = event.event_id, self._find(event)
            return self._answer[1]

    def _find(self, event: Event) -> Answered:
        for place, (serial, trigger, sequence) in enumerate(self._unanswered):
            if trigger.part_id == event.part_id and event.sequence > sequence:
                found = Answered(serial, trigger.number)
                for _ in range(place + 1):
                    self._unanswered.popleft()
                return self._last_of(event, found)
        return UNKNOWN

    def _last_of(self, event: Event, first: Answered) -> Answered:
        """Give the last trigger of a part: it is in place when its result comes."""
        last = first
        for _ in range(min(self.frames, len({f.frame for f in event.frames})) - 1):
            if not self._unanswered or self._unanswered[0].trigger.part_id != event.part_id:
                break
            accepted = self._unanswered.popleft()
            last = Answered(accepted.serial, accepted.trigger.number)
        return last


class ModbusOutput:
    """The registers of one station; the PLC is the client.

    Args:
        settings: address, and whether results wait for their acknowledgement.
        actions: what the line does with each verdict.
        heartbeat_s: time between two calls of `beat`; three missed are a dead station.
        triggered: whether parts come from this PLC's triggers; then only the result of the part
            in place may release.
        clock: measures silence.
    """

    batch = 1
    from_start = False  # what is history to a PLC would be shown as if it were in place

    def __init__(
        self,
        settings: ModbusSettings,
        actions: ActionSettings,
        *,
        heartbeat_s: float,
        triggered: bool,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.name: str = settings.name
        self.triggers = PlcTriggers()
        """What a source of cameras waits for."""
        self._settings = settings
        self._triggered = triggered
        self._clock = clock
        self._handshake = Handshake(
            actions, acknowledge=settings.acknowledge, heartbeat_s=heartbeat_s, clock=clock
        )
        self._server = ServerThread("Modbus", self._serve)
        self._decoder = DecodePDU(is_server=True)
        self._plc_words = [0] * FROM_PLC[-1].end
        self._plc_heartbeat: int | None = None
        self._plc_beat_s = -math.inf
        self._read_s = -math.inf  # when a client looked last
        self._told = Flag()  # a client has seen the station stop

    def connect(self) -> None:
        """Listen, if that is not done yet.

        Raises:
            OutputDown: the address is taken, or not this computer's.
        """
        if not self._server.running:
            self._server.start(self._settings.host, self._settings.port)

    def deliver(self, events: Sequence[Event]) -> int:
        """Show one result; 1 when it is acknowledged, 0 when it was not within a second.

        Raises:
            OutputDown: the server ended.
        """
        self._server.require()
        trigger = self.triggers.answered_by(events[0]) if self._triggered else UNKNOWN
        return int(self._handshake.deliver(events[0], trigger=trigger, timeout_s=DELIVERY_S))

    def beat(self, status: StationStatus) -> None:
        """Take the station's sign of life.

        Raises:
            OutputDown: the server ended.
        """
        self._handshake.beat(status)
        self._server.require()

    def close(self) -> None:
        """Show that the station stopped, for a second to a PLC that polls, and end the server."""
        self._handshake.leave()
        if self._clock.monotonic() - self._read_s < FAREWELL_S:
            self._told.wait(FAREWELL_S)
        self._server.stop()

    async def _serve(self, listening: Callable[[], None], stop: asyncio.Event) -> None:
        clients = _Clients(self._answer)
        settings = self._settings
        async with await asyncio.start_server(clients.serve, settings.host, settings.port):
            listening()
            await stop.wait()
        await clients.end()

    async def _answer(self, unit: int, request: bytes) -> ModbusPDU:
        """Answer one request, from its function code on."""
        function = request[0]
        if self._settings.unit not in (unit, 0):
            return ExceptionResponse(function, ExcCodes.GATEWAY_NO_RESPONSE)
        if function not in FUNCTIONS:
            return ExceptionResponse(function, ExcCodes.ILLEGAL_FUNCTION)
        asked = self._decoder.decode(request)
        if asked is None:
            return ExceptionResponse(function, ExcCodes.ILLEGAL_VALUE)
        values = cast(ModbusServerContext, _Values(self._read, self._write))
        return await asked.datastore_update(values, unit)

    def _read(self, function: int, address: int, count: int) -> list[int] | list[bool] | ExcCodes:
        """Give what a request reads, all of it as it is now."""
        shown = self._handshake.show()
        now = self._now(shown)
        self._read_s = self._clock.monotonic()
        if shown.state is StationState.STOPPED:
            self._told.set()
        end = address + count
        if function in BIT_READS:
            bits = now.bits()
            return bits[address:end] if end <= len(bits) else ExcCodes.ILLEGAL_ADDRESS
        areas = ((FROM_PLC, self._plc_words), (FROM_STATION, now.words()))
        for registers, words in areas:
            first = registers[0].address
            if first <= address and end <= first + len(words):
                return words[address - first : end - first]
        return ExcCodes.ILLEGAL_ADDRESS

    def _write(self, function: int, address: int, values: Sequence[int]) -> ExcCodes | None:
        """Take what a PLC writes; a trigger that is refused does not hold up an acknowledgement."""
        end = address + len(values)
        if function in BIT_WRITES or end > len(self._plc_words):
            return ExcCodes.ILLEGAL_ADDRESS
        words = [*self._plc_words[:address], *values, *self._plc_words[end:]]
        plc, names = read_plc(words), written(address, len(values))
        if "plc_heartbeat" in names and plc.plc_heartbeat != self._plc_heartbeat:
            self._plc_heartbeat, self._plc_beat_s = plc.plc_heartbeat, self._clock.monotonic()
        if "acknowledge" in names:
            self._handshake.acknowledge(plc.acknowledge)
        if "trigger" in names and self._triggered:
            shown = self._handshake.show()
            if self.triggers.brings(plc.trigger) and shown.state not in TAKING:
                return ExcCodes.DEVICE_BUSY
            part_id = plc.part_id or f"trigger-{plc.trigger}"
            trigger = Trigger(plc.trigger, part_id, plc.product)
            if not self.triggers.count(trigger, shown.status.sequence if shown.status else 0):
                return ExcCodes.DEVICE_BUSY
        self._plc_words = words
        return None

    def _now(self, shown: Shown) -> FromStation:
        event, status = shown.event, shown.status
        in_place = shown.trigger != UNKNOWN and shown.trigger.serial == self.triggers.in_place
        fits = self._plc_lives() and (in_place or not self._triggered)
        return FromStation(
            state=shown.state,
            heartbeat=status.beat if status else 0,
            ready=shown.ready and self._plc_lives(),
            busy=self.triggers.busy,
            verdict=event.verdict if event else None,
            action=shown.action if fits else self._handshake.safe,
            trigger_echo=shown.trigger.number,
            sequence=event.sequence if event else 0,
            score=event.deciding.score if event else None,
            deadline_ms=status.deadline_ms if status else 0,
            faults=status.counts.get(Verdict.FAULT, 0) if status else 0,
            part_id_echo=event.part_id if event else "",
        )

    def _plc_lives(self) -> bool:
        timeout_s = self._settings.plc_timeout_ms / 1000
        return timeout_s == 0 or self._clock.monotonic() - self._plc_beat_s <= timeout_s


@dataclass(frozen=True)
class _Values:
    """The values behind the registers as pymodbus' requests ask for them."""

    read: Callable[[int, int, int], list[int] | list[bool] | ExcCodes]
    write: Callable[[int, int, Sequence[int]], ExcCodes | None]

    async def async_getValues(  # noqa: N802 - pymodbus' name
        self, _unit: int, function: int, address: int, count: int
    ) -> list[int] | list[bool] | ExcCodes:
        return self.read(function, address, count)

    async def async_setValues(  # noqa: N802 - pymodbus' name
        self, _unit: int, function: int, address: int, values: Sequence[int]
    ) -> ExcCodes | None:
        return self.write(function, address, values)


class _Clients:
    """The connections of a Modbus TCP server; on each, one request is answered after the other."""

    def __init__(self, answer: Callable[[int, bytes], Awaitable[ModbusPDU]]) -> None:
        self._answer = answer
        self._tasks: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}
        """The one heard of last stands last."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it leaves, sends what is no Modbus, or makes room."""
        open_ones = [other for other in self._tasks if not other.is_closing()]
        others = crowd(open_ones, _address(writer), _address, MOST_CLIENTS, OF_ONE_ADDRESS)
        if others:
            others[0].transport.abort()
        self._tasks[writer] = asyncio.current_task()
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while await self._serve_one(reader, writer):
                    self._tasks[writer] = self._tasks.pop(writer)
        finally:
            del self._tasks[writer]
            writer.transport.abort()

    async def end(self) -> None:
        """End all connections."""
        tasks = [task for task in self._tasks.values() if task is not None]
        for writer in self._tasks:
            writer.transport.abort()
        if tasks:
            await asyncio.wait(tasks)

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        header = await reader.readexactly(_HEADER.size)
        transaction, protocol, follow, unit = _HEADER.unpack(header)
        if protocol != 0 or not 2 <= follow <= 254:
            return False
        answer = await self._answer(unit, await reader.readexactly(follow - 1))
        body = bytes([answer.function_code]) + answer.encode()
        writer.write(_HEADER.pack(transaction, 0, len(body) + 1, unit) + body)
        await writer.drain()  # a client that does not read is not read from, either
        return True


def _address(writer: asyncio.StreamWriter) -> str:
    return str(writer.get_extra_info("peername")[0])
