"""What a station measured of a picture arrives at the hub, number for number."""

import json

import pytest
from sqlalchemy import select

from inspection.core.image_statistics import ImageStatistics
from inspection.core.records import Event
from inspection.hub.ingest import store_events
from inspection.hub.tables import events
from inspection.hub.wire.line import Stored
from tests.hub.parts import SENDER, part

pytestmark = pytest.mark.fast


def test_statistics_of_a_frame_are_stored_in_its_record(sqlite_hub):
    """Embedding and all, and the record is an Event again."""
    measured = ImageStatistics(
        light=120.5, focus=-2.25, across=0.51, down=0.49, texture=-1.5, embedding=(0.125, -1.0)
    )
    sent = part(1, 0.5)
    frames = tuple(one.model_copy(update={"statistics": measured}) for one in sent.frames)
    body = json.dumps([sent.model_copy(update={"frames": frames}).model_dump(mode="json")])
    assert store_events(sqlite_hub, SENDER, body.encode()) == Stored(stored=1)
    with sqlite_hub.database.reading() as connection:
        record = connection.execute(select(events.c.record)).scalar_one()
    stored = Event.model_validate(record if isinstance(record, dict) else json.loads(record))
    assert [frame.statistics for frame in stored.frames] == [measured] * len(frames)
