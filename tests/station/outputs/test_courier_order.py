from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspection.station.outputs import courier as courier_module
from inspection.station.outputs.courier import Courier
from inspection.station.outputs.output import OutputDown
from tests.station.outputs.record import SOON, WAIT_S, Acknowledged, Record, ScriptedOutput


@pytest.fixture(autouse=True, scope="module")
def _short_pause() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(courier_module, "PAUSE_S", 0.001)
        yield


STEPS = st.one_of(
    st.integers(0, 4),
    st.sampled_from(["no connection"]),
    st.builds(OutputDown, st.just("broker away")),
    st.builds(RuntimeError, st.just("never foreseen")),
)


@settings(max_examples=200, deadline=None)
@given(
    script=st.lists(STEPS, max_size=12),
    before=st.integers(0, 12),
    live=st.integers(0, 12),
    delivered=st.integers(0, 12),
)
def test_whatever_fails_each_event_is_delivered_and_acknowledged_in_order(
    script: list[object], before: int, live: int, delivered: int
):
    """No event is skipped or out of order, whether from the record or live, however it fails."""
    delivered = min(delivered, before)
    output, record, acknowledged = ScriptedOutput(script), Record(before), Acknowledged()
    courier = Courier(output, record, delivered, acknowledged, SOON)
    courier.start()
    try:
        for _ in range(live):
            record.commit(courier)
        assert courier.drain(before + live, WAIT_S)
    finally:
        courier.stop(WAIT_S)
    place, places = delivered, []
    for sequences, count in output.deliveries:
        assert sequences == list(range(place + 1, place + 1 + len(sequences)))
        place += count
        places += [place] * bool(count)
    assert acknowledged == places
    assert place == before + live
    assert (output.closed, record.open) == (1, 0)
