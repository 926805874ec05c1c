"""The monitors of drift: alarms from the records of events, raised once, cleared for a reason."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from sqlalchemy import delete, select, update

from inspection.core.decision import Verdict
from inspection.core.geometry import Geometry
from inspection.core.image_statistics import ImageStatistics
from inspection.core.records import Event
from inspection.hub import monitors, references
from inspection.hub.asking import Refused
from inspection.hub.audit import list_entries
from inspection.hub.hub import Hub
from inspection.hub.ingest import Sender, store_events
from inspection.hub.loop_tables import alarms
from inspection.hub.monitored import monitors as monitored
from inspection.hub.monitors import accept_refit, dismiss, list_alarms, look
from inspection.hub.refusals import NotThere, Standing
from inspection.hub.tables import events
from inspection.hub.wire.people import Role
from inspection.hub.wire.retraining import Advice, Alarm, Cause
from tests.hub.parts import SENDER, part
from tests.retraining.plant import know_bundle

PER_HOUR, REFERENCE_H = 20, 26
LINE = SENDER.line
NEW = "c" * 64
Change = Callable[[dict[str, float], float], None]


class Line:
    """A line whose parts come by the hour, the last one an hour ago, with light drawn anew."""

    def __init__(self, hub: Hub, station: str = SENDER.station, also: str = "") -> None:
        """Make the line of a station; `also` names a second camera with a bundle of its own."""
        self.also = also
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
        values = {
            "verdict": verdict,
            "bundle_id": bundle_id,
            "statistics": None if verdict is Verdict.FAULT else ImageStatistics(**seen),
            "reason": reason,
        }
        at = self.at + timedelta(hours=hour, seconds=self.number % PER_HOUR)
        frames = (frame.model_copy(update=values),)
        if self.also:
            drawn["focus"] += moved.get("side_focus", 0)
            own = {"camera": self.also, "bundle_id": NEW, "score": -1.0}
            values = values | own | {"statistics": ImageStatistics(**drawn)}
            frames += (frame.model_copy(update=values),)
        return one.model_copy(
            update={
                "verdict": verdict,
                "station": self.sender.station,
                "event_id": f"{self.sender.station}-{self.number}",
                "captured_at": at,
                "frames": frames,
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


def test_a_smear_is_raised_while_the_light_stands_and_each_goes_by_itself(line):
    """The light is far out, the lens much less; neither hides the other."""
    line.run(8, light=-30)
    assert line.look() == [Cause.LIGHT]
    line.run(8, light=-30, focus=-0.6)
    assert line.look() == [Cause.FOCUS]
    line.run(8, focus=-0.6)
    assert line.look() == []
    assert cleared(line) == [("light", "settled"), ("focus", "")]


def test_other_features_are_raised_while_the_light_stands_and_stay(line):
    """They do not follow from what began before them."""
    line.run(8, light=-30)
    line.look()
    line.run(8, light=-30, score=0.4)
    assert line.look() == [Cause.SCORE]
    line.run(2, light=-30, score=0.4)
    assert line.look() == []
    assert cleared(line) == [("light", ""), ("score", "")]


def test_a_changed_light_that_nobody_accepts_stays_alarmed_however_long(line):
    """It never becomes the reference by itself, not with its first events deleted either."""
    line.run(6, light=-10)
    assert line.look() == [Cause.LIGHT]
    for _ in range(5):
        line.run(24, light=-10)
        with line.hub.database.writing() as connection:
            first = line.at - timedelta(hours=23)
            connection.execute(delete(events).where(events.c.captured_at < first))
        assert line.look() == []
        (light,) = standing(line)
    assert light.cause is Cause.LIGHT


def test_a_refit_renews_the_reference_of_what_it_was_made_for(line, monkeypatch):
    """The light is accepted; the lens, which no threshold mends, is watched as before."""
    line.run(9, light=-10)
    line.look()
    later = line.at + timedelta(hours=9)
    monkeypatch.setattr(type(line.hub), "now", lambda _hub: later)
    assert accept_refit(line.hub, LINE, "plate", "b" * 64, "policy") == 1
    assert accept_refit(line.hub, LINE, "plate", "b" * 64, "policy") == 0
    assert cleared(line) == [("light", "refitted")]
    line.at = later
    line.run(REFERENCE_H, light=-10)
    line.run(6, light=-10, focus=-0.6)
    assert line.look() == [Cause.FOCUS]
    line.run(6, light=-20, focus=-0.6)
    assert line.look() == [Cause.LIGHT]


def test_one_station_of_four_with_a_smear_is_found_and_named(sqlite_hub):
    lines = [Line(sqlite_hub, f"station-{number}") for number in range(1, 5)]
    for one in lines:
        one.run(REFERENCE_H)
    for one in lines:
        one.run(8, focus=-0.5 if one is lines[2] else 0)
    assert lines[0].look() == [Cause.FOCUS]
    (alarm,) = standing(lines[0])
    assert alarm.station == "station-3"
    shown = {one.station: one for one in monitored(sqlite_hub, LINE) if one.cause is Cause.FOCUS}
    assert {name: one.standing for name, one in shown.items()} == {
        **{f"station-{number}": None for number in (1, 2, 4)},
        "station-3": alarm.id,
    }


def test_stations_share_the_budget_of_their_line(sqlite_hub, monkeypatch):
    """Four times as many tests, so a finding of the same data needs a quarter of the chance."""
    places, read = [], monitors.read_causes

    def counted(reference, recent, count, stood):
        places.append(count)
        return read(reference, recent, count, stood)

    monkeypatch.setattr(monitors, "read_causes", counted)
    for number in range(1, 5):
        one = Line(sqlite_hub, f"station-{number}")
        one.run(REFERENCE_H + 6)
    one.look()
    assert places == [4] * 4


def test_of_alarms_of_all_stations_together_the_stations_own_take_over(line):
    """As a hub of before left them."""
    line.run(6, light=-10)
    line.look()
    with line.hub.database.writing() as connection:
        connection.execute(update(alarms).values(station=""))
    assert line.look() == [Cause.LIGHT]
    assert cleared(line) == [("light", "replaced"), ("light", "")]


def test_a_camera_whose_frames_never_decide_is_watched_by_its_own_bundle(sqlite_hub):
    """Its lens may be dirty just as well."""
    line = Line(sqlite_hub, also="side")
    line.run(REFERENCE_H)
    line.look()
    line.run(6, side_focus=-1)
    assert line.look() == [Cause.FOCUS]
    (alarm,) = standing(line)
    assert (alarm.camera, alarm.bundle_id) == ("side", NEW)


def test_frames_that_guards_hold_are_said_to_be_held(line, monkeypatch):
    """No threshold lets them pass, so none is to be fitted however long it lasts."""
    dark = "mean grey level 60.0; wanted 90 to 110; check the light and the exposure time"
    monkeypatch.setattr(type(line.hub), "now", lambda _hub: line.at)
    line.run(6, light=-40, verdict=Verdict.REVIEW, reason=dark)
    assert line.look() == [Cause.LIGHT]
    (alarm,) = standing(line)
    assert (alarm.guarded, alarm.advice) == (True, Advice.ADJUST)
    line.at += timedelta(hours=9)
    assert standing(line)[0].advice is Advice.RETRAIN
    light = monitored(line.hub, LINE)[0]
    assert "The station's guards hold most of them for review." in light.note
    assert f"The station says of the last that did not pass: {dark}." in light.note
    line.run(6, light=-10)
    line.look()
    assert [one.guarded for one in standing(line)] == [False]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"verdict": Verdict.FAULT, "reason": "too dark"}, "All 480 parts of the last 24 hours"),
        (None, "No part has come for 24 hours."),
    ],
    ids=["all are FAULT", "none comes"],
)
def test_a_watch_that_has_run_out_of_parts_says_so(line, monkeypatch, changes, said):
    line.run(6)
    if changes is None:
        line.at += timedelta(hours=25)
    else:
        line.run(24, **changes)
    monkeypatch.setattr(type(line.hub), "now", lambda _hub: line.at)
    light = monitored(line.hub, LINE)[0]
    assert said in light.note
    assert not light.watched


def test_monitors_tell_since_when_they_watch_and_when_the_hub_looked(line, monkeypatch):
    begin = line.at - timedelta(hours=REFERENCE_H)
    monkeypatch.setattr(type(line.hub), "now", lambda _hub: line.at)
    light = monitored(line.hub, LINE)[0]
    assert (light.watched, light.looked_at, light.since) == (False, None, begin)
    line.run(6)
    line.look()
    light = monitored(line.hub, LINE)[0]
    assert (light.watched, light.looked_at, light.recent) == (True, line.at, 7)


def test_another_bundle_replaces_the_alarm_of_the_old_one(line):
    line.run(6, light=-10)
    line.look()
    line.run(8, light=-10, bundle_id=NEW)
    assert line.look() == []
    assert cleared(line) == [("light", "replaced")]


def test_what_another_bundle_takes_over_has_not_gone_away_by_itself(line):
    """The old one let none of the new material pass: its last parts that passed are of before."""
    line.run(4)
    line.run(6, texture=1, verdict=Verdict.REJECT)
    assert line.look() == [Cause.TEXTURE]
    for _ in range(8):
        line.run(1, texture=1, bundle_id=NEW)
        assert line.look() == []
    assert cleared(line) == [("texture", "replaced")]


@pytest.fixture
def versions(line) -> None:
    """Both bundles are of one name."""
    know_bundle(line.hub, "b" * 64)
    know_bundle(line.hub, NEW)


@pytest.mark.usefixtures("versions")
def test_the_next_version_of_a_bundle_is_held_against_the_light_of_before(line):
    line.run(3, bundle_id=NEW)
    assert line.look() == []
    line.run(6, light=-10, score=1, bundle_id=NEW)
    assert line.look() == [Cause.LIGHT]  # its scores have no reference yet
    (alarm,) = standing(line)
    assert (alarm.bundle_id, alarm.since) == (NEW, line.at - timedelta(hours=6))


def test_a_bundle_of_another_name_is_not(line):
    know_bundle(line.hub, "b" * 64)
    know_bundle(line.hub, NEW, name="lid")
    line.run(3, bundle_id=NEW)
    line.run(6, light=-10, bundle_id=NEW)
    assert line.look() == []


@pytest.mark.usefixtures("versions")
def test_what_is_alarmed_against_a_lent_reference_becomes_none_itself(line):
    """Nor is the score of that time one: once the light is mended it would have moved."""
    line.look()
    line.run(3, bundle_id=NEW)
    line.run(6, light=-10, score=1, bundle_id=NEW)
    assert line.look() == [Cause.LIGHT]
    for _ in range(REFERENCE_H + 4):
        line.run(1, light=-10, score=1, bundle_id=NEW)
        assert line.look() == []
    assert [one.cause for one in standing(line)] == [Cause.LIGHT]
    for _ in range(REFERENCE_H + 12):
        line.run(1, bundle_id=NEW)
        assert line.look() == []
    assert cleared(line) == [("light", "settled")]
    line.run(6, score=1, bundle_id=NEW)
    assert line.look() == [Cause.SCORE]  # its own reference is of after the light came back


@pytest.mark.usefixtures("versions")
def test_what_was_dismissed_at_a_version_is_lent_to_it_no_more(line, monkeypatch):
    line.look()
    monkeypatch.setattr(type(line.hub), "now", lambda _hub: line.at)
    line.run(3, bundle_id=NEW)
    line.run(6, light=-10, bundle_id=NEW)
    line.look()
    line.run(6, light=-10, focus=-1, bundle_id=NEW)
    line.look()
    light, focus = sorted(standing(line), key=lambda one: one.cause, reverse=True)
    assert (light.cause, focus.cause) == (Cause.LIGHT, Cause.FOCUS)
    dismiss(line.hub, light.id, "a new lamp", "ann")
    [said] = {
        one.note
        for one in monitored(line.hub, LINE)
        if one.bundle_id == NEW and one.cause is Cause.LIGHT
    }
    assert said.startswith("Its reference is made of what comes once no alarm")
    for _ in range(12):
        line.run(1, light=-10, bundle_id=NEW)
        assert line.look() == []
    assert ("focus", "settled") in cleared(line)


@pytest.mark.usefixtures("versions")
def test_what_was_alarmed_at_a_version_that_left_is_no_reference_when_it_comes_back(line):
    line.look()
    line.run(3, bundle_id=NEW)
    line.run(6, light=-10, bundle_id=NEW)
    assert line.look() == [Cause.LIGHT]
    line.run(9)  # the old one is taken back, and the lamp is mended
    line.look()
    assert cleared(line) == [("light", "replaced")]
    for _ in range(REFERENCE_H + 12):
        line.run(1, bundle_id=NEW)
        assert line.look() == []


@pytest.mark.usefixtures("versions")
def test_a_third_version_is_not_held_against_what_the_second_answered(line):
    line.run(6, light=-10)
    line.look()
    line.run(9, light=-10, bundle_id=NEW)
    assert line.look() == []
    know_bundle(line.hub, "a" * 64)
    line.run(9, light=-10, bundle_id="a" * 64)
    assert line.look() == []


@pytest.mark.usefixtures("versions")
def test_nothing_is_lent_to_a_version_that_sees_parts_in_another_geometry(line, monkeypatch):
    seen = iter((Geometry(height_px=256), Geometry(height_px=320)))
    monkeypatch.setattr(references, "read_card", lambda *_: SimpleNamespace(geometry=next(seen)))
    line.run(3, bundle_id=NEW)
    line.run(6, light=-10, bundle_id=NEW)
    assert line.look() == []


@pytest.mark.usefixtures("versions")
def test_a_version_that_followed_an_alarm_begins_anew(line):
    line.run(6, light=-10)
    assert line.look() == [Cause.LIGHT]
    line.run(4, light=-10, bundle_id=NEW)
    assert line.look() == []  # the alarm of the old one still stands
    line.run(REFERENCE_H, light=-10, bundle_id=NEW)
    assert line.look() == []
    assert cleared(line) == [("light", "replaced")]
    line.run(6, bundle_id=NEW)
    assert line.look() == [Cause.LIGHT]  # it came back


@pytest.mark.usefixtures("versions")
def test_what_was_dismissed_holds_for_the_next_version(line, monkeypatch):
    line.run(6, light=-10)
    line.look()
    (alarm,) = standing(line)
    monkeypatch.setattr(type(line.hub), "now", lambda _hub: line.at)
    dismiss(line.hub, alarm.id, "a new lamp", "ann")
    line.run(3, light=-10)
    line.run(REFERENCE_H, light=-10, bundle_id=NEW)
    assert line.look() == []
    line.run(6, bundle_id=NEW)
    assert line.look() == [Cause.LIGHT]


@pytest.mark.usefixtures("versions")
def test_a_bundle_that_comes_back_is_held_against_the_same_light(line):
    line.run(4)
    line.look()
    line.run(10, bundle_id=NEW)
    assert line.look() == []
    line.run(1)
    assert line.look() == []
    line.run(6, light=-10)
    assert line.look() == [Cause.LIGHT]


def test_a_cause_in_the_picture_replaces_the_alarm_of_what_follows_from_it(line):
    line.run(8, score=0.3)
    assert line.look() == [Cause.SCORE]
    line.run(6, score=0.3, texture=1)
    assert line.look() == [Cause.TEXTURE]
    assert cleared(line) == [("score", "explained"), ("texture", "")]
    assert "explained" in {one.why_cleared for one in list_alarms(line.hub, LINE, standing=False)}


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


def test_what_a_hub_of_before_accepted_for_all_stations_holds_for_each(line, monkeypatch):
    line.run(6, light=-10)
    line.look()
    (alarm,) = standing(line)
    monkeypatch.setattr(type(line.hub), "now", lambda _hub: line.at)
    dismiss(line.hub, alarm.id, "a new lamp", "ann")
    with line.hub.database.writing() as connection:
        connection.execute(update(alarms).values(station=""))
    line.run(REFERENCE_H, light=-10)
    line.run(6, light=-10)
    assert line.look() == []
    assert standing(line) == ()


def test_an_accepted_light_accepts_no_score_that_was_alarmed_beside_it(line, monkeypatch):
    """The score's alarm is held against its old reference until it settles, and after that."""
    line.run(8, light=-30)
    line.look()
    (light,) = standing(line)
    line.run(8, light=-30, score=0.4)
    assert line.look() == [Cause.SCORE]
    monkeypatch.setattr(type(line.hub), "now", lambda _hub: line.at)
    dismiss(line.hub, light.id, "a new lamp", "ann")
    line.run(REFERENCE_H + 6, light=-30, score=0.4)
    assert line.look() == []
    assert cleared(line) == [("light", "dismissed"), ("score", "")]
    line.run(8, light=-30)
    assert line.look() == []
    assert cleared(line) == [("light", "dismissed"), ("score", "settled")]
    assert line.look() == []


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
