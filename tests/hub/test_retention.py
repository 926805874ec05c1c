"""What is old goes, what a person looked at stays, and the counts stay."""

import json
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, update

from inspection.hub.artefacts import picture_name
from inspection.hub.retention import Removed, Retention
from inspection.hub.reviews import decide
from inspection.hub.tables import audit, events, hours, pictures, queue
from inspection.hub.wire.people import Me, Role
from inspection.hub.wire.review import Decision, NewReview
from tests.hub.parts import add_picture, draw_mask, part, store

ANN = Me(account="ann", role=Role.REVIEWER)


def old(hub, number: int, score: float, days: float, *, picture: bool = True) -> None:
    """Store a part of so many days ago with a picture."""
    captured_at = hub.now() - timedelta(days=days)
    store(hub, part(number, score).model_copy(update={"captured_at": captured_at}))
    with hub.database.writing() as connection:
        this = events.c.event_id == f"part-{number}"
        connection.execute(update(events).where(this).values(received_at=captured_at))
    if picture:
        add_picture(hub, number)


def left(hub, table) -> set[str]:
    with hub.database.reading() as connection:
        return set(connection.execute(select(table.c.event_id)).scalars())


def files(hub) -> set[str]:
    return {name for name, _ in hub.artefacts.names("pictures")}


def test_each_goes_at_its_age_and_not_before(hub):
    """Defaults: events after 730 days, pictures after 90, those of a PASS after 14."""
    ages = {1: (9.0, 731), 2: (9.0, 729), 3: (9.0, 91), 4: (9.0, 89), 5: (0.5, 15), 6: (0.5, 13)}
    for number, (score, days) in ages.items():
        old(hub, number, score, days)
    retention = Retention(hub)
    assert retention.round() == Removed(events=1, pictures=3, artefacts=0)
    assert left(hub, events) == {f"part-{number}" for number in (2, 3, 4, 5, 6)}
    assert left(hub, pictures) == {"part-4", "part-6"}
    assert "part-1" not in left(hub, queue)
    assert len(files(hub)) == 6  # in case a row is on its way
    assert retention.round() == Removed(artefacts=4)
    assert len(files(hub)) == 2
    assert retention.round() == Removed()
    with hub.database.reading() as connection:
        assert connection.execute(select(func.sum(hours.c.parts))).scalar() == 6
        said = connection.execute(select(audit.c.detail).where(audit.c.action == "retention")).all()
    assert [json.loads(row.detail) for row in said] == [
        {"artefacts": 0, "events": 1, "pictures": 3},
        {"artefacts": 4, "events": 0, "pictures": 0},
    ]


def test_what_a_person_looked_at_stays_with_its_pictures_and_masks(hub):
    for number in (1, 2, 3):
        old(hub, number, 9.0, 1000)
    decide(hub, "part-1", NewReview(decision=Decision.GOOD, revision=0), ANN)
    decide(hub, "part-1", NewReview(decision=Decision.UNDONE, revision=1), ANN)
    draw_mask(hub, 2)
    retention = Retention(hub)
    assert retention.round() == Removed(events=1)
    retention.round()
    assert left(hub, events) == left(hub, pictures) == {"part-1", "part-2"}
    assert len(files(hub)) == 3  # two pictures and the mask


def test_what_came_today_from_a_clock_of_long_ago_stays(sqlite_hub):
    """A station whose clock lost its battery tells of 1970; nobody has seen its parts yet."""
    long_ago = datetime(1970, 1, 1, tzinfo=UTC)
    store(sqlite_hub, part(1, 0.5).model_copy(update={"captured_at": long_ago}))
    add_picture(sqlite_hub, 1)
    assert Retention(sqlite_hub).round() == Removed()
    assert left(sqlite_hub, events) == left(sqlite_hub, pictures) == {"part-1"}


def test_a_file_that_another_event_names_stays(sqlite_hub):
    old(sqlite_hub, 1, 9.0, 1000, picture=False)
    old(sqlite_hub, 2, 9.0, 1, picture=False)
    for number in (1, 2):
        add_picture(sqlite_hub, number, seed=5)
    retention = Retention(sqlite_hub)
    retention.round()
    retention.round()
    assert left(sqlite_hub, pictures) == {"part-2"}
    assert len(files(sqlite_hub)) == 1


def test_what_a_power_cut_left_half_written_goes(sqlite_hub):
    sqlite_hub.artefacts.put(picture_name("ab" * 32) + ".0.partial", b"half")
    retention = Retention(sqlite_hub)
    assert [retention.round().artefacts for _ in range(3)] == [0, 1, 0]


def test_more_than_one_step_is_taken(sqlite_hub, monkeypatch):
    monkeypatch.setattr("inspection.hub.retention.STEP", 3)
    for number in range(1, 11):
        old(sqlite_hub, number, 9.0, 1000, picture=number < 6)
    decide(sqlite_hub, "part-4", NewReview(decision=Decision.GOOD, revision=0), ANN)
    assert Retention(sqlite_hub).round() == Removed(events=9)
    assert left(sqlite_hub, events) == {"part-4"}
