"""Lists of events: filters, pages, order, indexes; and all of one event."""

import pytest
from sqlalchemy import insert
from sqlalchemy.dialects import sqlite

from inspection.hub.asking import Refused
from inspection.hub.events import EventsWanted, event_detail, events_query, list_events
from inspection.hub.refusals import NotThere
from inspection.hub.reviews import decide
from inspection.hub.tables import reviews
from inspection.hub.wire.people import Me, Role
from inspection.hub.wire.review import Decision, NewReview
from tests.hub.parts import BEGIN, add_picture, part, store

ANN = Me(account="ann", role=Role.REVIEWER)


def numbers(page) -> list[int]:
    return [int(row.event_id.removeprefix("part-")) for row in page.items]


def test_pages_follow_each_other_without_gap_or_repetition(hub):
    """Newest captured first, whatever came when; what comes meanwhile shifts no page."""
    store(hub, *(part(number, 0.5) for number in (3, 1, 5, 2, 4)))
    seen, after = [], None
    while True:
        page = list_events(hub, EventsWanted(limit=2, after=after))
        seen += numbers(page)
        store(hub, part(100 + len(seen), 0.5))
        if (after := page.next) is None:
            break
    assert seen == [5, 4, 3, 2, 1]


def test_parts_of_one_moment_are_all_listed(hub):
    same = [part(7, 0.5, event_id=f"part-{number}") for number in range(1, 6)]
    store(hub, *(one.model_copy(update={"sequence": n}) for n, one in enumerate(same, 1)))
    first = list_events(hub, EventsWanted(limit=3))
    rest = list_events(hub, EventsWanted(limit=3, after=first.next))
    assert (numbers(first), numbers(rest), rest.next) == ([5, 4, 3], [2, 1], None)


def test_filters_hold_together(plant):
    store(plant.hub, part(1, 0.5), part(2, 1.5), part(3, 1.6, bundle_id="c" * 64), part(4, None))
    add_picture(plant.hub, 2)
    decide(plant.hub, "part-2", NewReview(decision=Decision.GOOD, revision=0), ANN)
    viewer = plant.person(Role.VIEWER)
    assert numbers(viewer.events()) == [4, 3, 2, 1]
    assert numbers(viewer.events(verdict="REVIEW")) == [3, 2]
    assert numbers(viewer.events(line="line-1", verdict="REVIEW", bundle_id="b" * 64)) == [2]
    assert numbers(viewer.events(part_id="serial 4")) == [4]
    assert numbers(viewer.events(station="station-1", product="plate")) == [4, 3, 2, 1]
    assert numbers(viewer.events(line="line-2")) == []
    assert numbers(viewer.events(part_id="' OR 1=1 --")) == []
    good = viewer.events(decision="good")
    assert [(row.decision, row.picture) for row in good.items] == [("good", "2-top.png")]
    assert viewer.events(decision="defect").items == ()


@pytest.mark.parametrize(
    "wanted",
    [{"limit": 0}, {"limit": 501}, {"after": "x"}, {"after": "1.1; DROP"}, {"colour": "red"}],
    ids=str,
)
def test_what_cannot_be_asked_is_refused(sqlite_plant, wanted):
    with pytest.raises(Refused) as refused:
        sqlite_plant.person(Role.VIEWER).events(**wanted)
    assert refused.value.status == 422


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({}, "ix_events_captured_at"),
        ({"line": "line-1"}, "ix_events_line_captured_at"),
        ({"line": "line-1", "verdict": "FAULT"}, "ix_events_line_verdict_captured_at"),
        ({"line": "line-1", "bundle_id": "b" * 64}, "ix_events_line_bundle_id_captured_at"),
        ({"station": "station-1"}, "ix_events_station_captured_at"),
        ({"station": "station-1", "after": "9.9"}, "ix_events_station_captured_at"),
        ({"part_id": "serial 1"}, "ix_events_part_id"),
    ],
    ids=str,
)
def test_lists_come_from_an_index_in_its_order(sqlite_hub, wanted, index):
    query = events_query(EventsWanted(**wanted)).compile(
        dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}
    )
    with sqlite_hub.database.reading() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all()
    steps = " ".join(row[-1] for row in plan)
    assert index in steps
    assert "part_id" in wanted or "TEMP B-TREE" not in steps  # of one part there are few


def test_a_blind_second_review_is_left_out_until_one_has_decided(hub):
    store(hub, part(1, 1.5))
    row = {"event_id": "part-1", "line": "line-1", "revision": 1, "comment": "", "at": BEGIN}
    with hub.database.writing() as connection:
        connection.execute(
            insert(reviews),
            [
                row | {"second": False, "reviewer": "ann", "decision": "good"},
                row | {"second": True, "reviewer": "ben", "decision": "unsure"},
            ],
        )
    shown = {
        name: [one.reviewer for one in event_detail(hub, "part-1", name).reviews]
        for name in ("ann", "ben", "cid")
    }
    assert shown == {"ann": ["ann", "ben"], "ben": ["ann", "ben"], "cid": ["ann"]}
    assert event_detail(hub, "part-1", "cid").event == part(1, 1.5)


def test_who_is_asked_for_a_blind_second_review_sees_no_decision(make_hub, database_url):
    """Neither in a list, nor by a filter, nor in the event, until both are made."""
    hub = make_hub(database_url, review={"second_share": 1.0})
    store(hub, part(1, 1.5))

    def seen(name: str) -> list[object]:
        (row,) = list_events(hub, EventsWanted(), name).items
        found = list_events(hub, EventsWanted(decision=Decision.GOOD), name)
        detail = event_detail(hub, "part-1", name)
        said = [one.reviewer for one in detail.reviews]
        return [row.decision, detail.row.decision, numbers(found), said]

    decide(hub, "part-1", NewReview(decision=Decision.GOOD, revision=0), ANN)
    assert seen("ann") == ["good", "good", [1], ["ann"]]
    assert seen("ben") == [None, None, [], []]
    assert list_events(hub, EventsWanted()).items[0].decision is None
    second = NewReview(decision=Decision.GOOD, revision=0, second=True)
    decide(hub, "part-1", second, Me(account="ben", role=Role.REVIEWER))
    assert seen("ben") == ["good", "good", [1], ["ann", "ben"]]
    assert seen("cid") == ["good", "good", [1], ["ann"]]


def test_an_event_that_is_not_there_is_said(sqlite_hub):
    with pytest.raises(NotThere, match="event 'x'"):
        event_detail(sqlite_hub, "x", "ann")
