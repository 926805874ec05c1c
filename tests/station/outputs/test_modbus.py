import math
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from operator import itemgetter

import pytest
from pymodbus.exceptions import ModbusIOException

from inspection.bench.faults.network import Network, free_port
from inspection.core.decision import Verdict
from inspection.core.records import Event
from inspection.station.outputs import modbus
from inspection.station.outputs.courier import Courier
from inspection.station.outputs.handshake import FAREWELL_S
from inspection.station.outputs.modbus import MOST_CLIENTS, ModbusOutput
from inspection.station.outputs.output import OutputDown
from inspection.station.outputs.registers import FROM_PLC, FROM_STATION
from inspection.station.outputs.settings import Action, ActionSettings, ModbusSettings
from inspection.station.sources.trigger import Trigger
from inspection.station.state import StationState
from tests.fakes import StillClock
from tests.station.events import event
from tests.station.outputs.plc import Plc, Poller, unpack
from tests.station.outputs.record import WAIT_S, Acknowledged, Record, until
from tests.station.outputs.status import status

HEARTBEAT_S = 0.5
REQUEST = struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, FROM_STATION[0].address, 32)
SAFE = {"state": 0, "ready": 0, "action": 2}


class Station:
    """A Modbus output that runs, with what drives it."""

    def __init__(
        self, *, triggered: bool = False, actions: ActionSettings, beating: bool = True, **settings
    ) -> None:
        self.clock = StillClock()
        self.port = settings.setdefault("port", free_port())
        self.output = ModbusOutput(
            ModbusSettings(kind="modbus", **settings),
            actions,
            heartbeat_s=HEARTBEAT_S,
            triggered=triggered,
            clock=self.clock,
        )
        self.output.connect()
        if beating:
            self.output.beat(status())

    def close(self) -> None:
        """Close the output without a farewell."""
        self.clock.advance(FAREWELL_S)
        self.output.close()

    def show(self, shown: Event) -> None:
        """Deliver an event nobody acknowledges, without waiting for that."""
        self.output._handshake.deliver(
            shown, trigger=self.output.triggers.answered_by(shown), timeout_s=0
        )


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modbus, "DELIVERY_S", 0.05)
    monkeypatch.setattr(modbus, "FAREWELL_S", 0.3)


Start = Callable[..., Station]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start stations, and stop them after the test."""
    with ExitStack() as stack:

        def begin(*, actions: ActionSettings | None = None, **settings) -> Station:
            station = Station(actions=actions or ActionSettings(), **settings)
            stack.callback(station.close)
            return station

        yield begin


@pytest.fixture
def plc(request: pytest.FixtureRequest) -> Iterator[Callable[[Station], Plc]]:
    """Connect PLCs, and disconnect them after the test."""
    with ExitStack() as stack:
        yield lambda station, unit=1: stack.enter_context(Plc(station.port, unit))


Connect = Callable[..., Plc]


def test_result_stands_until_it_is_acknowledged(start: Start, plc: Connect):
    """With all defaults but the port: the result appears, is acknowledged, and is cleared."""
    station = start()
    client = plc(station)
    assert station.output.deliver([event(7, Verdict.REVIEW)]) == 0
    shown = client.read()
    assert shown["sequence"] == 7
    assert shown["verdict"] == 2
    assert shown["action"] == 2  # review is rejected by default
    assert shown["score"] == 0.25
    assert shown["part_id_echo"] == "part-7"
    client.write(acknowledge=7)
    cleared = client.read()
    assert [cleared[name] for name in ("sequence", "verdict", "part_id_echo")] == [0, 0, ""]
    assert station.output.deliver([event(7, Verdict.REVIEW)]) == 1
    assert client.read()["sequence"] == 0


def test_acknowledgement_of_another_result_changes_nothing(start: Start, plc: Connect):
    """A PLC that writes its registers in a cycle repeats its last acknowledgement all the time."""
    station = start()
    client = plc(station)
    station.show(event(8))
    client.write(acknowledge=7)
    client.write(acknowledge=9)
    assert client.read()["sequence"] == 8


def test_results_overwrite_each_other_where_no_acknowledgement_is_asked_for(
    start: Start, plc: Connect
):
    """The simplest PLC reads two bits and writes nothing."""
    station = start(acknowledge=False)
    client = plc(station)
    assert station.output.deliver([event(1, Verdict.REJECT)]) == 1
    assert client.bits() == {"reject", "ready"}
    assert station.output.deliver([event(2)]) == 1
    assert client.bits() == {"release", "ready"}


@pytest.mark.parametrize(
    ("verdict", "actions", "bits"),
    [
        (Verdict.PASS, ActionSettings(), {"release"}),
        (Verdict.REVIEW, ActionSettings(), {"reject"}),
        (Verdict.REVIEW, ActionSettings(review=Action.RELEASE), {"release"}),
        (Verdict.REVIEW, ActionSettings(review=Action.HOLD), set()),
        (Verdict.REJECT, ActionSettings(safe=Action.HOLD), {"reject"}),
        (Verdict.FAULT, ActionSettings(), {"reject", "fault"}),
        (Verdict.FAULT, ActionSettings(safe=Action.HOLD), {"fault"}),
    ],
)
def test_bits_say_what_to_do_with_the_part(
    verdict: Verdict, actions: ActionSettings, bits: set[str], start: Start, plc: Connect
):
    """Release comes from a verdict only, and a FAULT says so."""
    station = start(actions=actions)
    station.show(event(1, verdict))
    assert plc(station).bits() == bits | {"ready"}


def test_fault_has_no_score(start: Start, plc: Connect):
    """Zero would be the best score there is."""
    station = start()
    station.show(event(1, Verdict.FAULT))
    assert math.isnan(plc(station).read()["score"])


@pytest.mark.parametrize(("score", "shown"), [(1e300, 3.4028234663852886e38), (1e-60, 0.0)])
def test_score_beyond_the_range_of_the_register_is_cut(
    score: float, shown: float, start: Start, plc: Connect
):
    """A score of any size must not make the registers unreadable."""
    station = start()
    frame = event(1).frames[0].model_copy(update={"score": score})
    station.show(event(1, frames=(frame,)))
    assert plc(station).read()["score"] == shown


def test_long_part_id_is_cut_between_two_characters(start: Start, plc: Connect):
    """Sixteen registers hold 32 bytes; half a character would be none."""
    station = start()
    station.show(event(1, part_id="x" * 31 + "ä"))
    assert plc(station).read()["part_id_echo"] == "x" * 31


def test_heartbeat_state_deadline_and_faults_come_with_the_beat(start: Start, plc: Connect):
    """They are the status as of the last beat; the counter wraps at 16 bits."""
    station = start()
    client = plc(station)
    for beat, heartbeat in ((41, 41), (65_536, 0), (65_537, 1)):
        station.output.beat(status(beat=beat, counts={Verdict.FAULT: 70_000}))
        shown = client.read()
        assert (shown["heartbeat"], shown["state"], shown["ready"]) == (heartbeat, 2, 1)
    assert (shown["version"], shown["deadline_ms"], shown["faults"]) == (1, 1000, 70_000)


@pytest.mark.parametrize("state", [s for s in StationState if s is not StationState.READY])
def test_only_a_ready_station_releases(state: StationState, start: Start, plc: Connect):
    """A PASS on show is no release while the station is anything but READY."""
    station = start()
    client = plc(station)
    station.show(event(1))
    assert "release" in client.bits()
    station.output.beat(status(state))
    assert client.bits() == {"reject"}
    assert (client.read()["verdict"], client.read()["action"]) == (1, 2)
    station.output.beat(status())
    assert "release" in client.bits()


def test_station_whose_beats_stop_shows_the_safe_output(start: Start, plc: Connect):
    """Nothing has to run for that in a process that hangs."""
    station = start()
    client = plc(station)
    station.show(event(1))
    station.clock.advance(3 * HEARTBEAT_S)
    assert "release" in client.bits()
    station.clock.advance(0.01)
    assert client.bits() == {"reject"}
    assert client.read() | SAFE == client.read()
    station.output.beat(status(beat=2))
    assert "release" in client.bits()


def test_station_that_has_not_beaten_yet_shows_the_safe_output(start: Start, plc: Connect):
    """Between the start of the server and the first heartbeat nothing is known."""
    station = start(beating=False, actions=ActionSettings(safe=Action.HOLD))
    station.show(event(1))
    client = plc(station)
    assert client.bits() == set()
    assert (client.read()["state"], client.read()["action"]) == (0, 3)


def test_plc_whose_heartbeat_stands_still_counts_as_gone(start: Start, plc: Connect):
    """Another client, like a safety relay, must not see a release nobody acts upon."""
    station = start(plc_timeout_ms=2_000)
    client = plc(station)
    station.show(event(1))
    assert client.bits() == {"reject"}  # it has not beaten yet
    for beat in (1, 2):
        client.write(plc_heartbeat=beat)
        assert client.bits() == {"release", "ready"}
        station.clock.advance(1.5)
        station.output.beat(status())
    client.write(plc_heartbeat=2)  # the same
    station.clock.advance(1)
    station.output.beat(status())
    assert client.bits() == {"reject"}


def test_end_of_the_station_is_shown_before_the_connection_ends(start: Start):
    """A PLC that polls sees STOPPED and the safe output; what comes after is silence."""
    station = start()
    station.show(event(1))
    poller = Poller(station.port, lambda plc: plc.read())
    until(lambda: poller.seen and poller.seen[-1]["action"] == 1)
    station.output.close()
    poller.join(WAIT_S)
    last = poller.seen[-1]
    assert [last[name] for name in ("state", "ready", "sequence", "action")] == [5, 0, 1, 2]


def test_trigger_brings_a_part_and_its_result_comes_back(start: Start, plc: Connect):
    """The whole handshake of one part."""
    station = start(triggered=True)
    client = plc(station)
    assert client.bits() == {"reject", "ready"}
    client.part(1, "A-1", "wide")
    assert client.bits() == {"reject", "busy", "ready"}
    assert station.output.triggers.wait(WAIT_S) == Trigger(1, "A-1", "wide")
    station.show(event(40, part_id="A-1"))
    assert client.bits() == {"release", "ready"}
    shown = client.read()
    assert [shown[name] for name in ("sequence", "trigger_echo", "part_id_echo", "action")] == [
        40,
        1,
        "A-1",
        1,
    ]
    client.write(acknowledge=40)
    assert client.bits() == {"reject", "ready"}


def test_same_number_is_no_new_part_and_zero_is_none(start: Start, plc: Connect):
    """A PLC may write its registers in a cycle, and starts with zeros."""
    station = start(triggered=True)
    client = plc(station)
    for number in (0, 1, 1):
        client.part(number, f"A-{number}")
    assert station.output.triggers.wait(WAIT_S) == Trigger(1, "A-1", "")
    assert station.output.triggers.wait(0) is None
    client.write(trigger=0)
    assert station.output.triggers.wait(0) is None
    assert client.bits() == {"reject", "ready"}


@pytest.mark.parametrize("acknowledge", [False, True])
def test_part_that_comes_under_the_number_of_the_last_one_is_not_released_by_its_result(
    acknowledge: bool, start: Start, plc: Connect
):
    """A PLC may know no numbers but 1 and 0; a PASS is good for one part."""
    station = start(triggered=True, acknowledge=acknowledge)
    client = plc(station)
    client.write(trigger=1)
    station.show(event(1, part_id="trigger-1"))
    assert client.bits() == {"release", "ready"}
    client.write(trigger=0)
    assert client.bits() == {"reject", "ready"}
    client.write(trigger=1)
    assert client.bits() == {"reject", "busy", "ready"}
    assert client.read()["trigger_echo"] == 1  # of the part before
    client.write(acknowledge=1)
    station.show(event(2, part_id="trigger-1"))
    assert client.bits() == {"release", "ready"}


def test_trigger_is_refused_as_busy_when_too_many_wait_for_their_results(
    start: Start, plc: Connect, monkeypatch: pytest.MonkeyPatch
):
    """One forgotten would let its result pass for that of a later part with the same id."""
    monkeypatch.setattr(modbus, "MOST_UNANSWERED", 2)
    station = start(triggered=True)
    client = plc(station)
    for number in (1, 2):
        assert not client.part(number, "same").isError()
    assert client.part(3, "same").exception_code == 6
    station.show(event(1, part_id="same"))
    assert client.read()["trigger_echo"] == 1
    assert not client.part(3, "same").isError()
    block = [4, 0, 0, 1]  # trigger 4 and acknowledge 1 in one request
    assert client.client.write_registers(0, block, device_id=1).exception_code == 6
    assert client.read()["sequence"] == 0


def test_trigger_is_refused_as_busy_once_the_source_ended(start: Start, plc: Connect):
    """The station says READY for seconds while its cameras close; what it took is still given."""
    station = start(triggered=True)
    client = plc(station)
    client.part(1, "A-1")
    station.output.triggers.close()
    assert client.part(2, "A-2").exception_code == 6
    assert not client.write(trigger=0).isError()
    assert station.output.triggers.wait(0).part_id == "A-1"
    assert station.output.triggers.wait(WAIT_S) is None


def test_part_without_an_id_is_named_after_its_trigger(start: Start, plc: Connect):
    """A PLC need not know the part."""
    station = start(triggered=True)
    client = plc(station)
    client.write(trigger=9)
    assert station.output.triggers.wait(WAIT_S) == Trigger(9, "trigger-9", "")
    station.show(event(1, part_id="trigger-9"))
    assert "release" in client.bits()


def test_part_id_that_is_no_utf8_is_taken_nevertheless(start: Start, plc: Connect):
    """Garbage in the part id must not lose the part."""
    station = start(triggered=True)
    client = plc(station)
    client.client.write_registers(4, [0xFF41, 0x4200], device_id=1)
    client.write(trigger=1)
    assert station.output.triggers.wait(WAIT_S) == Trigger(1, "\ufffdAB", "")


def test_late_result_does_not_release_the_part_in_place(start: Start, plc: Connect):
    """The PLC went on to the next part; the verdict on the last one is shown, but not acted on."""
    station = start(triggered=True)
    client = plc(station)
    for number in (1, 2):
        client.part(number, f"A-{number}")
        station.output.triggers.wait(WAIT_S)
    station.show(event(1, part_id="A-1"))
    assert client.bits() == {"reject", "busy", "ready"}
    assert [client.read()[name] for name in ("verdict", "trigger_echo", "action")] == [1, 1, 2]
    client.write(acknowledge=1)
    station.show(event(2, part_id="A-2"))
    assert client.bits() == {"release", "ready"}


def test_new_trigger_takes_the_release_of_the_last_part_away(start: Start, plc: Connect):
    """It does so with the write itself, acknowledged or not."""
    station = start(triggered=True)
    client = plc(station)
    client.part(1, "A-1")
    station.show(event(1, part_id="A-1"))
    assert "release" in client.bits()
    client.part(2, "A-2")
    assert client.bits() == {"reject", "busy", "ready"}
    assert client.read()["sequence"] == 1  # it still waits for its acknowledgement


def test_result_of_a_part_no_trigger_brought_does_not_release(start: Start, plc: Connect):
    """Results from before a restart wait in the record; nobody knows what is in place now."""
    station = start(triggered=True)
    client = plc(station)
    station.show(event(1, part_id="A-1"))
    assert client.bits() == {"reject", "ready"}
    client.part(5, "A-5")
    station.show(event(2, part_id="A-2"))
    assert client.bits() == {"reject", "busy", "ready"}
    assert client.read()["trigger_echo"] == 0


def test_result_from_before_the_trigger_does_not_release(start: Start, plc: Connect):
    """The part was here yesterday, passed, and is back for a reason."""
    station = start(triggered=True)
    client = plc(station)
    station.output.beat(status(sequence=40))
    client.part(1, "A-1")
    station.show(event(40, part_id="A-1"))
    assert client.bits() == {"reject", "busy", "ready"}
    client.write(acknowledge=40)
    station.show(event(41, part_id="A-1"))
    assert client.bits() == {"release", "ready"}


def test_result_keeps_its_trigger_when_it_is_delivered_again(start: Start, plc: Connect):
    """The courier asks again every second; the part id may stand for the next part, too."""
    station = start(triggered=True)
    client = plc(station)
    for number in (1, 2):
        client.part(number, "same")
        station.output.triggers.wait(WAIT_S)
    for _ in range(3):
        station.show(event(1, part_id="same"))
        assert client.read()["trigger_echo"] == 1
    station.show(event(2, part_id="same"))
    assert client.read()["trigger_echo"] == 2


@pytest.mark.parametrize("left", [(), (0,)])
def test_part_that_moved_on_is_given_as_overtaken(
    left: tuple[int, ...], start: Start, plc: Connect
):
    """A camera would photograph the next part under its id, or none; it gets its FAULT instead."""
    station = start(triggered=True)
    client = plc(station)
    for number in (1, 2, 3):
        client.part(number, f"A-{number}")
    for number in left:
        client.write(trigger=number)
    given = [station.output.triggers.wait(0) for _ in range(4)]
    assert given[:2] == [Trigger(number, f"A-{number}", "", overtaken=True) for number in (1, 2)]
    assert given[2:] == [Trigger(3, "A-3", "", overtaken=bool(left)), None]
    for number in (1, 2, 3):
        station.show(event(number, part_id=f"A-{number}"))
        assert client.read()["trigger_echo"] == number


@pytest.mark.parametrize("state", [None, StationState.STARTING, StationState.STOPPED])
def test_trigger_is_refused_as_busy_while_no_part_is_taken(
    state: StationState | None, start: Start, plc: Connect
):
    """The PLC is told so instead of being left without a result; it may write it again."""
    station = start(triggered=True, beating=False)
    client = plc(station)
    if state is not None:
        station.output.beat(status(state))
    refused = client.part(1, "A-1")
    assert (refused.isError(), refused.exception_code) == (True, 6)
    assert not client.part(0, "").isError()
    assert "busy" not in client.bits()
    station.output.beat(status(StationState.IMPAIRED))
    assert not client.part(1, "A-1").isError()
    assert station.output.triggers.wait(WAIT_S) == Trigger(1, "A-1", "")


def test_trigger_is_ignored_where_parts_come_from_elsewhere(start: Start, plc: Connect):
    """A watched folder knows no triggers; its results are not bound to them."""
    station = start()
    client = plc(station)
    client.part(3, "A-3")
    station.show(event(1))
    assert client.bits() == {"release", "ready"}
    assert station.output.triggers.wait(0) is None


def test_results_wait_for_a_plc_that_was_away(start: Start):
    """Each is delivered once, in order, whoever acknowledges it."""
    station = start()
    delivered = Acknowledged()
    delivery = Courier(station.output, Record(6), 0, delivered)
    delivery.start()
    with Plc(station.port) as client:
        taken = [client.acknowledge_next()["sequence"] for _ in range(1)]
        taken.append(client.acknowledge_next(after=1)["sequence"])
    until(lambda: delivered == [1, 2])
    with Plc(station.port) as client:
        taken += [client.acknowledge_next(after=number)["sequence"] for number in range(2, 6)]
    assert delivery.drain(6, WAIT_S)
    delivery.stop()
    assert taken == delivered == [1, 2, 3, 4, 5, 6]


def test_restarted_station_goes_on_where_the_plc_was(start: Start):
    """What was acknowledged is not shown again; what was not, is, under its sequence."""
    record, delivered = Record(3), Acknowledged()
    station = start()
    delivery = Courier(station.output, record, 0, delivered)
    delivery.start()
    with Plc(station.port) as client:
        client.acknowledge_next()
        until(lambda: client.read()["sequence"] == 2)
        until(lambda: delivered == [1])
    delivery.stop()
    station = start(port=station.port)
    delivery = Courier(station.output, record, delivered[-1], delivered)
    delivery.start()
    with Plc(station.port) as client:
        assert client.acknowledge_next()["sequence"] == 2
        assert client.acknowledge_next(after=2)["sequence"] == 3
    assert delivery.drain(3, WAIT_S)
    delivery.stop()
    assert delivered == [1, 2, 3]


def test_fast_client_never_sees_a_mixture_of_two_results(start: Start):
    """One request is one snapshot, however fast results change."""
    station = start(acknowledge=False)
    verdicts = [Verdict.PASS, Verdict.REVIEW, Verdict.REJECT]
    wanted = {
        number: (1 + number % 3, 1 if number % 3 == 0 else 2, f"part-{number}")
        for number in range(1, 1501)
    }
    pollers = [
        Poller(
            station.port,
            lambda plc: itemgetter("verdict", "action", "sequence", "part_id_echo")(plc.read()),
        )
        for _ in range(2)
    ]
    until(lambda: all(poller.seen for poller in pollers))
    for number in wanted:
        station.output.deliver([event(number, verdicts[number % 3])])
        time.sleep(0.0002)
    until(lambda: all(poller.seen[-1][2] == 1500 for poller in pollers))
    station.output.close()
    for poller in pollers:
        poller.join(WAIT_S)
        seen = {row for row in poller.seen[:-1] if row[2]}
        assert len(seen) > 20
        for verdict, action, sequence, part_id in seen:
            if (verdict, action, part_id) != wanted[sequence]:
                assert (sequence, action) == (1500, 2)  # the farewell


def test_half_open_and_silent_clients_disturb_nobody(start: Start):
    """A cut cable ends no connection; whoever is silent for longest makes room for the next."""
    station = start()
    station.show(event(1))
    with ExitStack() as stack:
        for _ in range(3):
            network = stack.enter_context(Network(station.port))
            assert stack.enter_context(Plc(network.port)).read()["sequence"] == 1
            network.go_dumb()
        plc = stack.enter_context(Plc(station.port))
        for _ in range(2 * MOST_CLIENTS):
            stack.enter_context(socket.create_connection(("127.0.0.1", station.port)))
            assert plc.read()["sequence"] == 1  # over the one connection it opened
        plc.write(acknowledge=1)
        assert station.output.deliver([event(1)]) == 1


def test_acknowledgement_that_was_cut_off_is_asked_for_again(start: Start):
    """The PLC meets the same sequence once more and knows it by that."""
    station = start()
    delivery = Courier(station.output, Record(2), 0, Acknowledged())
    delivery.start()
    with Network(station.port) as network, Plc(network.port) as client:
        until(lambda: client.read()["sequence"] == 1)
        network.go_dumb()
        client.client.comm_params.timeout_connect = 0.05
        with pytest.raises(ModbusIOException):
            client.write(acknowledge=1)
    with Plc(station.port) as client:
        assert client.acknowledge_next()["sequence"] == 1
        assert client.acknowledge_next(after=1)["sequence"] == 2
    assert delivery.drain(2, WAIT_S)
    delivery.stop()


def test_client_that_asks_and_does_not_read_waits_alone(start: Start, plc: Connect):
    """Its answers must not fill the memory of the station: in the end it cannot even ask."""
    station = start()
    client = plc(station)
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        deaf.connect(("127.0.0.1", station.port))
        deaf.settimeout(0.2)
        asked = 0
        with suppress(TimeoutError):
            while asked < 100_000_000:
                asked += deaf.send(REQUEST * 100)
        assert asked < 100_000_000
        assert client.read()["state"] == 2


def test_requests_sent_without_waiting_are_all_answered(start: Start):
    """A trigger among them must not get lost; so too when the network cuts them anywhere."""
    station = start()
    stream = REQUEST * 20
    with socket.create_connection(("127.0.0.1", station.port), WAIT_S) as client:
        for cut in (7, 30, 100):
            client.sendall(stream[:cut])
            time.sleep(0.01)
            client.sendall(stream[cut:])
            answers = client.makefile("rb").read(20 * 73)
            assert answers == answers[:73] * 20


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 300, b"\0\1\0\0\0\1\1", b"\0\1\0\0\xff\xff\1"],
)
def test_what_speaks_no_modbus_is_let_go(garbage: bytes, start: Start, plc: Connect):
    """A browser or a port scanner finds the port one day."""
    station = start()
    client = plc(station)
    with socket.create_connection(("127.0.0.1", station.port), WAIT_S) as scanner:
        scanner.sendall(garbage)
        with suppress(ConnectionResetError):
            assert scanner.recv(100) == b""
    assert client.read()["state"] == 2


@pytest.mark.parametrize(
    ("request_pdu", "code"),
    [(b"\x08\0\0\0\0", 1), (b"\x83\2", 1), (b"\x03\0", 3), (b"\x03\0\0\x01\0", 3), (b"\x10", 3)],
    ids=["diagnostics", "an answer", "cut", "too many", "nothing to write"],
)
def test_request_that_makes_no_sense_is_refused(request_pdu: bytes, code: int, start: Start):
    """The client hears why; the connection stays."""
    station = start()
    header = struct.pack(">HHHB", 9, 0, len(request_pdu) + 1, 1)
    with socket.create_connection(("127.0.0.1", station.port), WAIT_S) as client:
        for _ in range(2):
            client.sendall(header + request_pdu)
            function = request_pdu[0] | 0x80
            assert client.recv(100) == struct.pack(">HHHBBB", 9, 0, 3, 1, function, code)


def test_what_the_station_shows_cannot_be_written(start: Start, plc: Connect):
    """A PLC must not release a part by itself through the station's registers."""
    station = start()
    client = plc(station).client
    for answer in (
        client.write_register(106, 1, device_id=1),
        client.write_registers(99, [0, 0, 0], device_id=1),
        client.write_coil(0, value=True, device_id=1),
        client.write_coils(0, [True, True], device_id=1),
    ):
        assert (answer.isError(), answer.exception_code) == (True, 2)
    assert Plc.bits(plc(station)) == {"reject", "ready"}


def test_input_registers_show_the_same(start: Start, plc: Connect):
    """Some PLCs read the one kind more easily, some the other."""
    station = start()
    station.show(event(5))
    client = plc(station).client
    first, count = FROM_STATION[0].address, FROM_STATION[-1].end - FROM_STATION[0].address
    holding = client.read_holding_registers(first, count=count, device_id=1).registers
    assert client.read_input_registers(first, count=count, device_id=1).registers == holding
    assert client.read_input_registers(109, count=1, device_id=1).registers == [5]


def test_plc_reads_back_what_it_wrote(start: Start, plc: Connect):
    """As engineering tools do to check a connection."""
    station = start()
    client = plc(station)
    client.part(3, "A-3", "wide")
    words = client.client.read_holding_registers(0, count=FROM_PLC[-1].end, device_id=1).registers
    assert unpack(FROM_PLC, words) == {
        "trigger": 3,
        "plc_heartbeat": 0,
        "acknowledge": 0,
        "part_id": "A-3",
        "product": "wide",
    }


@pytest.mark.parametrize(("unit", "asked", "code"), [(7, 7, 0), (7, 1, 11), (0, 255, 0)])
def test_unit_is_the_one_configured_and_zero_is_any(
    unit: int, asked: int, code: int, start: Start, plc: Connect
):
    """Behind a gateway a request for another unit must not be answered."""
    client = plc(start(unit=unit)).client
    assert client.read_holding_registers(100, count=1, device_id=asked).exception_code == code


def test_port_in_use_is_down_and_comes_up_when_it_is_free(start: Start):
    """The reason names the address and the remedy."""
    output = ModbusOutput(
        ModbusSettings(kind="modbus", port=free_port()),
        ActionSettings(),
        heartbeat_s=HEARTBEAT_S,
        triggered=False,
    )
    address = ("127.0.0.1", output._settings.port)
    with (
        socket.create_server(address),
        pytest.raises(OutputDown, match=rf"127.0.0.1:{address[1]} \(.*in use.*\); free the port"),
    ):
        output.connect()
    output.connect()
    output.connect()  # nothing to do
    with Plc(address[1]) as client:
        assert client.read()["version"] == 1
    output.close()


def test_output_that_never_connected_closes():
    """The courier closes it whatever happened."""
    output = ModbusOutput(
        ModbusSettings(kind="modbus", port=free_port()),
        ActionSettings(),
        heartbeat_s=HEARTBEAT_S,
        triggered=False,
    )
    output.beat(status())
    output.close()
    assert (output.name, output.batch) == ("modbus", 1)
