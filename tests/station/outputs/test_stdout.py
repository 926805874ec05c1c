import io
import os
import sys

import pytest

from inspection.core.decision import Verdict
from inspection.core.records import Event, parse_record
from inspection.station.outputs.output import OutputGone
from inspection.station.outputs.settings import StdoutSettings
from inspection.station.outputs.stdout import StdoutOutput
from tests.station.events import event
from tests.station.outputs.status import status

pytestmark = pytest.mark.fast


def test_each_event_is_one_json_line(capsys: pytest.CaptureFixture[str]):
    """Lines hold the whole event, in order, and nothing else comes to stdout."""
    output = StdoutOutput(StdoutSettings())
    events = [event(1), event(2, Verdict.FAULT), event(3, part_id="Stück\n3")]
    output.connect()
    output.beat(status())
    assert output.deliver(events) == 3
    output.close()
    lines = capsys.readouterr().out.splitlines()
    assert [parse_record(line, Event, "stdout") for line in lines] == events


def test_a_line_is_out_before_it_is_acknowledged(monkeypatch: pytest.MonkeyPatch):
    """Events do not wait in a buffer."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as writer:
        monkeypatch.setattr(sys, "stdout", writer)
        assert StdoutOutput(StdoutSettings()).deliver([event(1)]) == 1
        assert parse_record(reader.readline(), Event, "stdout") == event(1)


def test_a_reader_that_is_gone_ends_the_station(monkeypatch: pytest.MonkeyPatch):
    """A broken pipe never heals, so the output is gone; the event is in the record."""
    reading, writing = os.pipe()
    os.close(reading)
    # unbuffered, or closing it would write once more
    with io.TextIOWrapper(io.FileIO(writing, "w"), write_through=True) as writer:
        monkeypatch.setattr(sys, "stdout", writer)
        gone = r"event 0{31}1 cannot be written to stdout \(Broken pipe\); the event is recorded"
        with pytest.raises(OutputGone, match=gone):
            StdoutOutput(StdoutSettings()).deliver([event(1)])
