from pathlib import Path

import pytest

from inspection.station.outputs.couriers import Couriers
from inspection.station.spool import Spool
from tests.station.events import event
from tests.station.outputs.record import WAIT_S, ScriptedOutput, until

pytestmark = pytest.mark.fast


def output(*, from_start: bool) -> ScriptedOutput:
    """Make an output that takes everything."""
    made = ScriptedOutput()
    made.from_start = from_start
    return made


def delivered(made: ScriptedOutput) -> list[int]:
    """Give the sequences an output got."""
    return [sequence for sequences, _ in made.deliveries for sequence in sequences]


def run(spool: Spool, made: ScriptedOutput, *new: int) -> list[int]:
    """Run the couriers of one output while events are recorded; give what it got."""
    with Couriers([made], spool) as couriers:
        for sequence in new:
            spool.append(event(sequence))
            couriers.publish(event(sequence))
        couriers.drain(spool.next_sequence - 1, WAIT_S)
        until(lambda: couriers.statuses(spool.next_sequence - 1)[0].waiting == 0)
    return delivered(made)


@pytest.mark.parametrize(("from_start", "got"), [(True, [1, 2, 3, 4]), (False, [4])])
def test_new_output_of_an_old_station_gets_history_only_where_it_asks_for_it(
    from_start: bool, got: list[int], tmp_path: Path
):
    """A file is to be complete; a PLC would take a PASS of last year for the part in place."""
    spool = Spool(tmp_path)
    for sequence in (1, 2, 3):
        spool.append(event(sequence))
    assert run(spool, output(from_start=from_start), 4) == got
    spool.close()


def test_new_output_misses_nothing_from_its_first_event_on_even_when_killed(tmp_path: Path):
    """Its place is durable with that event; were it not, the event would be history, too."""
    spool = Spool(tmp_path)
    spool.append(event(1))
    Couriers([output(from_start=False)], spool)  # killed before it delivers
    spool.append(event(2))
    spool.close()
    spool = Spool(tmp_path)
    assert run(spool, output(from_start=False), 3) == [2, 3]
    spool.close()
