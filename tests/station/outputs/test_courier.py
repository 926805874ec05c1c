import logging
from collections.abc import Callable, Iterator, Sequence

import pytest

from inspection.core.records import Event
from inspection.station.outputs.courier import RECENT, BackOff, Courier
from inspection.station.outputs.output import OutputDown, OutputGone
from tests.station.events import event
from tests.station.outputs.record import (
    SOON,
    WAIT_S,
    Acknowledged,
    Record,
    ScriptedOutput,
    until,
)
from tests.station.outputs.status import status

pytestmark = pytest.mark.fast


Start = Callable[..., Courier]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start couriers, and stop them after the test."""
    started: list[Courier] = []

    def begin(output: object, record: Record, acknowledge: object, delivered: int = 0) -> Courier:
        started.append(Courier(output, record, delivered, acknowledge, SOON))
        started[-1].start()
        return started[-1]

    yield begin
    for courier in started:
        courier.stop(WAIT_S)


def test_live_events_are_handed_over_without_reading_the_record(start: Start):
    """A courier that has everything reads the record once, to find its end."""
    output, record, acknowledged = ScriptedOutput(), Record(3), Acknowledged()
    courier = start(output, record, acknowledged, delivered=3)
    until(lambda: courier.status(3).up)
    reads = record.reads
    for _ in range(20):
        record.commit(courier)
    assert courier.drain(23, WAIT_S)
    assert record.reads == reads == 1
    assert acknowledged[-1] == 23
    assert record.threads == {"courier scripted"}


def test_an_event_published_while_the_record_is_read_is_not_missed():
    """It came too late for that reading, and before the courier began to wait."""
    record, acknowledged = Record(), Acknowledged()

    class Late(Record):
        def after(self, sequence: int, limit: int) -> list[Event]:
            found = record.after(sequence, limit)
            record.commit(courier)
            return found

    courier = Courier(ScriptedOutput(), Late(), 0, acknowledged, SOON)
    courier.start()
    drained = courier.drain(1, WAIT_S)
    courier.stop(WAIT_S)
    assert drained
    assert acknowledged == [1]


def test_a_courier_far_behind_reads_what_memory_does_not_hold(start: Start):
    """More events than are kept in memory wait in the record; each is delivered once, in order."""
    output, record, acknowledged = ScriptedOutput(), Record(), Acknowledged()
    output.gate.clear()
    courier = start(output, record, acknowledged)
    count = 2 * RECENT + 5
    for _ in range(count):
        record.commit(courier)
    assert courier.status(count).waiting == count
    output.gate.set()
    assert courier.drain(count, WAIT_S)
    assert [number for sequences, _ in output.deliveries for number in sequences] == list(
        range(1, count + 1)
    )


def test_event_that_was_not_published_yet_is_not_delivered():
    """It stands in the record, but may be amended until the loop lets it go."""
    output, record, acknowledged = ScriptedOutput(), Record(3), Acknowledged()
    courier = Courier(output, record, 0, acknowledged, SOON, newest=2)
    courier.start()
    assert courier.drain(2, WAIT_S)
    assert not courier.drain(3, 0.05)
    courier.publish(event(3))
    drained = courier.drain(3, WAIT_S)
    courier.stop(WAIT_S)
    assert drained
    assert acknowledged[-1] == 3


def test_status_says_why_an_output_is_down_and_when_it_is_up(start: Start):
    """The reason is the failure's own words; it goes when an event is acknowledged."""
    output, record = ScriptedOutput([OutputDown("cable out")] * 10_000), Record(2)
    courier = start(output, record, Acknowledged())
    until(lambda: courier.status(2).reason == "cable out")
    assert (courier.status(2).up, courier.status(2).waiting) == (False, 2)
    output.script.clear()
    assert courier.drain(2, WAIT_S)
    until(lambda: courier.status(2).up)
    assert (courier.status(2).reason, courier.status(2).waiting) == ("", 0)


def test_an_output_that_acknowledges_nothing_is_said_to_wait(start: Start):
    """Neither up nor failed: the status names the event that is not acknowledged."""
    output, record = ScriptedOutput([0] * 10_000), Record(2)
    courier = start(output, record, Acknowledged())
    until(lambda: "waits until event 1 is acknowledged" in courier.status(2).reason)
    assert not courier.status(2).up


def test_one_failure_is_logged_once_until_it_works_again(
    start: Start, caplog: pytest.LogCaptureFixture
):
    """Twenty tries that fail alike are one warning; coming up is said, too."""
    caplog.set_level(logging.INFO)
    output, record = ScriptedOutput([OutputDown("cable out")] * 20), Record(1)
    courier = start(output, record, Acknowledged())
    assert courier.drain(1, WAIT_S)
    until(lambda: courier.status(1).up)
    assert [(found.message, found.levelname) for found in caplog.records] == [
        ("output down", "WARNING"),
        ("output up", "INFO"),
    ]


def test_an_unforeseen_exception_is_logged_with_its_text_and_tried_again(
    start: Start, caplog: pytest.LogCaptureFixture
):
    """A defect in an output neither ends its courier nor goes unnoticed."""
    output, record = ScriptedOutput([KeyError("colour")]), Record(1)
    courier = start(output, record, Acknowledged())
    assert courier.drain(1, WAIT_S)
    (found,) = (found for found in caplog.records if found.levelname == "ERROR")
    assert found.reason == "KeyError: 'colour'"
    assert found.exc_info is not None


@pytest.mark.parametrize("count", [-1, 3], ids=["negative", "more than given"])
def test_an_impossible_number_of_acknowledgements_is_refused(start: Start, count: int):
    """What an output cannot have taken is not acknowledged."""

    class Boaster(ScriptedOutput):
        def deliver(self, events: Sequence[Event]) -> int:
            return count

    acknowledged = Acknowledged()
    courier = start(Boaster(), Record(2), acknowledged)
    until(lambda: f"acknowledged {count} of 2 events" in courier.status(2).reason)
    assert acknowledged == []


def test_a_record_that_lacks_a_published_event_is_a_failure(start: Start):
    """A published event that the record does not give is loud, not skipped."""
    output, record = ScriptedOutput(), Record()
    courier = start(output, record, Acknowledged())
    courier.publish(event(5))
    until(lambda: "no event after 0, but event 5" in courier.status(5).reason)
    assert output.deliveries == []


def test_an_output_that_is_gone_is_remembered_and_closed(start: Start):
    """OutputGone ends the courier; the service reads `failed` and ends the station."""
    output, record = ScriptedOutput([OutputGone("stdout closed")]), Record(2)
    courier = start(output, record, Acknowledged())
    until(lambda: output.closed)
    assert str(courier.failed) == "stdout closed"
    assert (courier.status(2).up, courier.status(2).reason) == (False, "stdout closed")
    assert not courier.drain(2, WAIT_S)  # at once


def test_drain_gives_up_in_time(start: Start):
    """A destination that is down does not hold the end of the station up."""
    courier = start(ScriptedOutput([0] * 100_000), Record(1), Acknowledged())
    assert not courier.drain(1, 0.01)


def test_stop_interrupts_the_longest_pause():
    """Half a minute of back-off ends at once when the station stops."""
    output = ScriptedOutput(["no connection"] * 5)
    courier = Courier(output, Record(1), 0, Acknowledged(), BackOff(first_s=600, most_s=600))
    courier.start()
    until(lambda: courier.status(1).reason == "no connection")
    courier.stop(WAIT_S)
    assert (output.connections, output.closed) == (1, 1)
    assert courier.status(1).reason == "stopped"


def test_a_courier_that_never_started_has_nothing_to_close():
    """Stopping before the start touches nothing."""
    output = ScriptedOutput()
    Courier(output, Record(), 0, Acknowledged()).stop()
    assert output.closed == 0


def test_a_hanging_output_does_not_hold_up_the_end(caplog: pytest.LogCaptureFixture):
    """The stop gives up after its time and says so."""
    output = ScriptedOutput()
    output.gate.clear()
    courier = Courier(output, Record(1), 0, Acknowledged(), SOON)
    courier.start()
    courier.stop(timeout_s=0.01)
    assert "output does not end" in caplog.messages
    output.gate.set()
    courier.stop(WAIT_S)
    assert output.closed == 1


def test_a_record_that_cannot_be_opened_is_tried_again(start: Start):
    """A full disk or a locked database is waited out like a destination."""
    record, failures = Record(1), [OSError("disk full")] * 3

    def opened() -> Record:
        if failures:
            raise failures.pop()
        return record()

    acknowledged = Acknowledged()
    courier = start(ScriptedOutput(), opened, acknowledged)
    assert courier.drain(1, WAIT_S)
    assert acknowledged == [1]


def test_an_acknowledgement_that_cannot_be_written_loses_nothing(start: Start):
    """The next acknowledgement covers the lost one."""
    acknowledged, failures = Acknowledged(), [OSError("disk full")]

    def acknowledge(name: str, sequence: int) -> None:
        if failures:
            raise failures.pop()
        acknowledged(name, sequence)

    record = Record(1)
    courier = start(ScriptedOutput(), record, acknowledge)
    until(lambda: not failures)
    record.commit(courier)
    until(lambda: acknowledged == [2])


def test_a_failing_heartbeat_is_logged_once_until_one_succeeds(
    start: Start, caplog: pytest.LogCaptureFixture
):
    """A defect in `beat` reaches nobody but the log, and does not fill it."""
    output = ScriptedOutput()
    courier = start(output, Record(), Acknowledged())
    for error in (ValueError("wrong"), ValueError("wrong"), None, ValueError("wrong")):
        output.beat_error = error
        courier.beat(status())
    assert output.beats == 4
    reasons = [found.reason for found in caplog.records if found.message == "heartbeat failed"]
    assert reasons == ["ValueError: wrong"] * 2


def test_a_heartbeat_that_finds_the_connection_lost_has_it_made_anew(start: Start):
    """Without any event to deliver, a lost connection is found and mended."""
    output = ScriptedOutput()
    courier = start(output, Record(), Acknowledged())
    until(lambda: courier.status(0).up)
    output.beat_error = OutputDown("connection lost")
    courier.beat(status())
    output.beat_error = None
    until(lambda: output.connections == 2 and courier.status(0).up)


def test_no_heartbeat_reaches_an_output_that_is_closed():
    """After `close`, `beat` is not called any more."""
    output = ScriptedOutput()
    courier = Courier(output, Record(), 0, Acknowledged(), SOON)
    courier.start()
    courier.stop(WAIT_S)
    courier.beat(status())
    assert output.beats == 0


def test_pauses_begin_anew_after_a_success():
    """A long outage last week does not slow the next recovery down."""
    counted: list[int] = []

    class Counting(BackOff):
        def pause_s(self, failures: int) -> float:
            counted.append(failures)
            return 0.0

    down = OutputDown("cable out")
    output = ScriptedOutput([down, "no connection", down, 1, down])
    courier = Courier(output, Record(2), 0, Acknowledged(), Counting())
    courier.start()
    drained = courier.drain(2, WAIT_S)
    courier.stop(WAIT_S)
    assert drained
    assert counted == [1, 2, 3, 1]


def test_pauses_double_up_to_the_limit_and_differ():
    """Half a second, 1 s, 2 s … 30 s, each shortened by up to half; also after days of failures."""
    back_off = BackOff(first_s=0.5, most_s=30)
    for failures, most in [(1, 0.5), (2, 1), (3, 2), (6, 16), (7, 30), (100_000, 30)]:
        pauses = [back_off.pause_s(failures) for _ in range(50)]
        assert most / 2 <= min(pauses) < max(pauses) <= most
