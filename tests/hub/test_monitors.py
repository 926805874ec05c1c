"""The monitors of drift: alarms from the records of events, raised once, cleared for a reason."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import delete, select

from inspection.core.decision import Verdict
from inspection.core.image_statistics import ImageStatistics
from inspection.core.records import Event
from inspection.hub import monitors
from inspection.hub.monitored import monitors as monitored
from inspection.hub.asking import Refused
from inspection.hub.audit import list_entries
from inspection.hub.hub import Hub
from inspection.hub.ingest import Sender, store_events
from inspection.hub.loop_tables import alarms
from inspection.hub.monitors import dismiss, list_alarms, look
from inspection.hub.refusals import NotThere, Standing
from inspection.hub.tables import events
from inspection.hub.wire.people import Role
from inspection.hub.wire.retraining import Advice, Alarm, Cause
from tests.hub.parts import SENDER, part

PER_HOUR, REFERENCE_H = 20, 26
LINE = SENDER.line
NEW = "c" * 64
Change = Callable[[dict[str, float], float], None]


class Line:
    """A line whose parts come by the hour, the last one an hour ago, with light drawn anew."""

    def __init__(self, hub: Hub, station: str = SENDER.station) -> None:
        self.hub, self.rng, self.number = hub, np.random.default_rng(1), 0
        self.sender = Sender(station, LINE)
        self.at = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=5)

    def run(self, hours: int, **changes) -> None:
        """Let parts pass for some hours: `light=-10` and the like move them."""
        made = [self._part(hour, **changes) for hour in range(hours) for _ in range(PER_HOUR)]
        records = [one.model_dump(mode="json") | {"action": "none"} for one in made]
        for first in range(0, len(records), 100):
            store_events(self.hub, self.sender, json.dumps(records[first : first + 100]).encode())
        self.at += timedelta(hours=hours)

    def look(self) -> list[Cause]:
        """Look as the hour ends; give what was raised."""
        return [one.cause for one in look(self.hub, self.at)]

    def _part(
        self, hour: int, *, verdict=Verdict.PASS, bundle_id="b" * 64, reason="", **moved
    ) -> Event:
        self.number += 1
        drawn = {
            "light": self.rng.normal(100, 2),
            "focus": self.rng.normal(-4, 0.1),
            "across": self.rng.normal(0.5, 0.01),
            "down": self.rng.normal(0.5, 0.01),
            "texture": self.rng.normal(0.5, 0.05),
        }
        seen = {name: value + moved.get(name, 0) for name, value in drawn.items()}
        one = part(self.number, self.rng.normal(0.5, 0.05) + moved.get("score", 0))
        (frame,) = one.frames
        update = {
            "verdict": verdict,
            "bundle_id": bundle_id,
            "statistics": None if verdict is Verdict.FAULT else ImageStatistics(**seen),
            "reason": reason,
        }
        at = self.at + timedelta(hours=hour, seconds=self.number % PER_HOUR)
        return one.model_copy(
            update={
                "verdict": verdict,
                "station": self.sender.station,
                "event_id": f"{self.sender.station}-{self.number}",
                "captured_at": at,
                "frames": (frame.model_copy(update=update),),
            }
        )


@pytest.fixture
def line(sqlite_hub) -> Line:
    """A line on SQLite whose reference has been gathered."""
    made = Line(sqlite_hub)
    made.run(REFERENCE_H)
    return made


def standing(line: Line) -> tuple[Alarm, ...]:
    return list_alarms(line.hub, LINE, standing=True)


def cleared(line: Line) -> list[tuple[str, str]]:
    with line.hub.database.reading() as connection:
        found = connection.execute(select(alarms).order_by(alarms.c.id)).all()
    return [(row.cause, row.why_cleared) for row in found]


def test_an_alarm_is_raised_once_and_settles_when_the_light_comes_back(hub):
    line = Line(hub)
    line.run(REFERENCE_H + 6)
    assert line.look() == []
    line.run(6, light=-10)
    assert line.look() == [Cause.LIGHT]
    assert line.look() == []
    (alarm,) = standing(line)
    assert (alarm.line, alarm.product, alarm.camera) == (LINE, "plate", "top")
    assert alarm.effect < -3
    assert alarm.words.startswith("The light fell by 10%")
    assert alarm.since == line.at - timedelta(hours=6)
    line.run(7)
    assert line.look() == []
    assert cleared(line) == [("light", "settled")]


def test_nothing_is_said_while_the_reference_is_gathered(sqlite_hub):
    line = Line(sqlite_hub)
    line.run(10)
    line.run(10, light=-20)
    assert line.look() == []
    shown = monitored(sqlite_hub, LINE)
    assert {one.cause for one in shown} == set(Cause)
    assert shown[0].reference == 0
    assert shown[0].note.startswith("Its reference is still gathered: 400 of 500 parts that passed")
    assert not any(one.watched for one in shown)


def test_an_hour_that_is_not_over_does_not_count(line):
    line.run(6, light=-10)
    assert look(line.hub, line.at - timedelta(hours=6, minutes=1)) == ()


def test_the_reference_outlives_its_events(line):
    line.run(6)
    line.look()
    with line.hub.database.writing() as connection:
        first = line.at - timedelta(hours=6)
        connection.execute(delete(events).where(events.c.captured_at < first))
    line.run(6, focus=-1)
    assert line.look() == [Cause.FOCUS]


def test_another_bundle_replaces_the_alarm_of_the_old_one(line):
    line.run(6, light=-10)
    line.look()
    line.run(8, light=-10, bundle_id=NEW)
    assert line.look() == []
    assert cleared(line) == [("light", "replaced")]


def test_a_cause_in_the_picture_replaces_the_alarm_of_what_follows_from_it(line):
    line.run(8, score=0.3)
    assert line.look() == [Cause.SCORE]
    line.run(6, score=0.3, texture=1)
    assert line.look() == [Cause.TEXTURE]
    assert cleared(line) == [("score", "replaced"), ("texture", "")]


def test_where_hardly_any_part_passes_all_count_and_the_words_say_so(line):
    line.run(6, light=-40, verdict=Verdict.REJECT)
    assert line.look() == [Cause.LIGHT]
    assert "Hardly any part passes any more" in standing(line)[0].words


def test_a_dismissed_alarm_does_not_come_back_for_the_same(hub, monkeypatch):
    line = Line(hub)
    line.run(REFERENCE_H)
    line.run(6, light=-10)
    line.look()
    (alarm,) = standing(line)
    monkeypatch.setattr(type(hub), "now", lambda _hub: line.at)
    dismissed = dismiss(hub, alarm.id, "a new lamp", "ann")
    assert (dismissed.why_cleared, dismissed.cleared_at) == ("dismissed", line.at)
    entry = list_entries(hub, None, 1).items[0]
    assert (entry.actor, entry.action) == ("ann", "alarm dismiss")
    line.run(REFERENCE_H, light=-10)
    assert line.look() == []
    line.run(6, light=-10)
    assert line.look() == []
    line.run(6)
    assert line.look() == [Cause.LIGHT]
    with pytest.raises(Standing, match="was dismissed already"):
        dismiss(hub, alarm.id, "again", "ann")
    with pytest.raises(NotThere, match="not on this hub"):
        dismiss(hub, 99, "none", "ann")


def test_a_look_that_a_dismissal_overtook_is_thrown_away(line, monkeypatch):
    line.run(6, light=-10)
    line.look()
    (alarm,) = standing(line)
    watch = monitors.watch_line

    def overtaken(*args):
        found = watch(*args)
        dismiss(line.hub, alarm.id, "a new lamp", "ann")
        return found

    monkeypatch.setattr(monitors, "watch_line", overtaken)
    assert line.look() == []
    assert standing(line) == ()


def test_two_hubs_that_look_at_once_raise_an_alarm_once(hub, make_hub, database_url, monkeypatch):
    line, other = Line(hub), make_hub(database_url)
    line.run(REFERENCE_H)
    line.run(6, light=-10)
    watch, raised = monitors.watch_line, []

    def as_the_other_looks(*args):
        found = watch(*args)
        monkeypatch.setattr(monitors, "watch_line", watch)
        raised.extend(look(other, line.at))
        return found

    monkeypatch.setattr(monitors, "watch_line", as_the_other_looks)
    assert line.look() == []
    assert [one.id for one in standing(line)] == [one.id for one in raised]


def test_monitors_give_their_blocks_in_deviations(line):
    line.run(6, light=-10)
    line.look()
    (alarm,) = standing(line)
    by_cause = {one.cause: one for one in monitored(line.hub, LINE)}
    light = by_cause[Cause.LIGHT]
    assert (light.reference, light.standing, len(light.blocks)) == (500, alarm.id, 32)
    assert light.blocks[-1][1] < -light.limit < light.blocks[0][1]
    assert by_cause[Cause.SCORE].standing is None
    assert by_cause[Cause.FEATURES].blocks == ()
    assert by_cause[Cause.FEATURES].note.startswith("Not measured on these parts")


def test_events_of_an_older_station_are_watched_by_their_score(line):
    with line.hub.database.writing() as connection:
        for row in connection.execute(select(events.c.event_id, events.c.record)).all():
            record = json.loads(row.record)
            for frame in record["frames"]:
                del frame["statistics"]
            here = events.c.event_id == row.event_id
            connection.execute(events.update().where(here).values(record=json.dumps(record)))
    line.run(8, score=0.3, light=-10)
    assert line.look() == [Cause.SCORE]


def test_the_advice_changes_when_an_alarm_stands_for_a_shift(line, monkeypatch):
    line.run(6, light=-10)
    line.look()
    advised = []
    for hours in (7, 9):
        later = line.at + timedelta(hours=hours)
        monkeypatch.setattr(type(line.hub), "now", lambda _hub, later=later: later)
        advised.append(standing(line)[0].advice)
    assert advised == [Advice.ADJUST, Advice.REFIT]


def test_alarms_are_shown_to_viewers_and_dismissed_by_engineers(sqlite_plant):
    line = Line(sqlite_plant.hub)
    line.run(REFERENCE_H)
    line.run(6, light=-10)
    line.look()
    viewer, engineer = sqlite_plant.person(Role.VIEWER), sqlite_plant.person(Role.ENGINEER)
    (alarm,) = viewer.alarms(LINE)
    assert viewer.alarms("line-2") == ()
    assert viewer.monitors(LINE)[0].standing == alarm.id
    with pytest.raises(Refused, match="needs engineer"):
        viewer.dismiss(alarm.id, "why not")
    engineer.dismiss(alarm.id, "a new lamp")
    assert viewer.alarms() == ()
    assert [one.why_cleared for one in viewer.alarms(standing=False)] == ["dismissed"]
