"""What second stages name: kept once, filtered and counted by, and held against reviewers."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import select

from inspection.core.decision import Verdict
from inspection.core.fusion import PartFusion
from inspection.core.records import Event
from inspection.hub.asking import Refused
from inspection.hub.blocks import SeenFrame
from inspection.hub.events import EventsWanted, events_query, list_events
from inspection.hub.hub import Hub
from inspection.hub.ingest import store_events
from inspection.hub.queue import queue_of
from inspection.hub.recognition import confuse, count_known
from inspection.hub.reviews import decide
from inspection.hub.tables import events, recognised_types, recognitions
from inspection.hub.wire.line import RefusalCode
from inspection.hub.wire.people import Me, Role
from inspection.hub.wire.recognition import ConfusionWanted, RecognitionWanted
from inspection.hub.wire.review import Decision, NewReview, Why
from tests.hub.parts import SENDER, named, part, store

ANN, BEN = (Me(account=name, role=Role.REVIEWER) for name in ("ann", "ben"))


def late(hub: Hub, event: Event, minutes: int = 0) -> Event:
    """Give the same part as captured some minutes ago."""
    at = hub.now() - timedelta(minutes=minutes)
    return event.model_copy(update={"captured_at": at, "judged_at": at})


def review(hub: Hub, number: int, decision: Decision, defect: str | None = None, who: Me = ANN):
    """Decide on a part that nobody has decided on."""
    decide(hub, f"part-{number}", NewReview(decision=decision, defect=defect, revision=0), who)


def numbers(page) -> list[int]:
    """Give the numbers of listed parts."""
    return [int(row.event_id.removeprefix("part-")) for row in page.items]


def test_lists_and_the_queue_are_filtered_by_type(plant):
    """Each row says its types; what was not looked at has none."""
    hub = plant.hub
    store(
        hub,
        named(part(1, 1.5), ("pore", 0.9), ("crack", 0.8), ("pore", 0.7)),
        named(part(2, 2.5), ("crack", 0.9)),
        part(3, 2.5),
        named(part(4, 2.5)),
    )
    reviewer = plant.person(Role.REVIEWER)
    assert numbers(reviewer.events(type="crack")) == [2, 1]
    assert numbers(reviewer.events(type="pore", verdict="REVIEW")) == [1]
    assert numbers(reviewer.events(type="dent")) == []
    rows = {row.event_id: row.types for row in reviewer.events().items}
    assert list(rows["part-1"].items()) == [("pore", 2), ("crack", 1)]
    assert rows["part-3"] == rows["part-4"] == {}
    waiting = {item.event_id for item in reviewer.queue("line-1", type_="crack")}
    assert waiting == {"part-1", "part-2"}
    assert len(reviewer.queue("line-1")) == 4
    detail = reviewer.event("part-1").event.frames[0].recognised
    assert [one.type for one in detail.found] == ["pore", "crack", "pore"]


def test_types_are_counted_by_line_product_and_time(hub):
    """Parts and objects, the most parts first; how the looks ended; what was held."""
    store(
        hub,
        late(hub, named(part(1, 0.5), ("pore", 0.9), ("pore", 0.6), held=True)),
        late(hub, named(part(2, 0.5), ("pore", 0.9), ("crack", 0.6))),
        late(hub, named(part(3, 0.5), status="late", held=True), 90),
        late(hub, named(part(4, 0.5)).model_copy(update={"product": "bolt"})),
        late(hub, named(part(5, 0.5), ("pore", 0.9)), 60 * 30),
        late(hub, part(6, 0.5)),
    )
    found = count_known(hub, RecognitionWanted(hours=24))
    assert (found.looks, found.per) == ({"done": 3, "late": 1}, "hour")
    assert (found.named, found.held) == (2, 2)
    told = [(one.line, one.product, one.type, one.parts, one.objects) for one in found.types]
    assert told == [("line-1", "plate", "pore", 2, 3), ("line-1", "plate", "crack", 1, 1)]
    assert sum(one.parts for one in found.times) == 3
    assert count_known(hub, RecognitionWanted(hours=24, product="bolt")).types == ()
    assert count_known(hub, RecognitionWanted(hours=24, line="line-2")).looks == {}
    longer = count_known(hub, RecognitionWanted(hours=72, line="line-1", product="plate"))
    assert (longer.types[0].parts, longer.per) == (3, "day")
    assert {one.begin.hour for one in longer.times} == {0}


def test_detector_and_reviewers_are_held_against_each_other(plant):
    """A part of several types counts for the person's where it is among them, else the surest."""
    hub = plant.hub
    found = {
        1: [("pore", 0.9), ("crack", 0.5)],
        2: [("pore", 0.9), ("crack", 0.5)],
        3: [("pore", 0.8)],
        4: [],
        5: [("pore", 0.8)],
        6: [("stain", 0.8)],
        7: [("pore", 0.8)],
        8: [("pore", 0.8)],
    }
    store(hub, *(late(hub, named(part(n, 1.5), *types)) for n, types in found.items()))
    store(hub, late(hub, named(part(9, 1.5), status="failed")), late(hub, part(10, 1.5)))
    store(hub, late(hub, named(part(11, 0.5), status="skipped")))  # an escape it did not look at
    for number, defect in {
        1: "crack",
        2: "dent",
        3: "pore",
        4: "crack",
        6: None,
        9: "pore",
        11: "dent",
    }.items():
        review(hub, number, Decision.DEFECT, defect)
    review(hub, 5, Decision.GOOD)
    review(hub, 7, Decision.UNSURE)
    review(hub, 10, Decision.DEFECT, "pore")
    told = plant.person(Role.VIEWER).confusion(24, line="line-1")
    assert {(one.found, one.said): one.parts for one in told.cells} == {
        ("crack", "crack"): 1,
        ("pore", "dent"): 1,
        ("pore", "pore"): 1,
        (None, "crack"): 1,
        (None, "dent"): 1,
        ("pore", "good"): 1,
        ("stain", "unnamed"): 1,
    }
    rates = {
        one.type: (one.found.count, one.found.of, one.right.count, one.right.of)
        for one in told.agreement
    }
    assert rates == {
        "crack": (1, 2, 1, 1),
        "dent": (0, 2, 0, 0),
        "pore": (1, 1, 1, 3),
        "stain": (0, 0, 0, 0),
    }
    assert [(one.detector, one.parts) for one in told.detectors] == [("pores", 7)]
    assert confuse(hub, ConfusionWanted(detector_id="e" * 64)).cells == ()
    assert len(confuse(hub, ConfusionWanted(detector_id="d" * 64)).cells) == 7
    assert plant.person(Role.VIEWER).types(24, line="line-1").types[0].type == "pore"


def test_what_is_known_twice_is_counted_once(hub):
    """The same event again, and with its part deleted nothing is left."""
    event = late(hub, named(part(1, 1.5), ("pore", 0.9)))
    store(hub, event, event)
    store(hub, event)
    assert count_known(hub, RecognitionWanted()).types[0].parts == 1
    with hub.database.writing() as connection:
        connection.execute(events.delete())
    with hub.database.reading() as connection:
        assert connection.execute(select(recognitions.c.event_id)).all() == []
        assert connection.execute(select(recognised_types.c.event_id)).all() == []


def test_a_part_is_what_all_its_frames_say(hub):
    """The worst end, all objects, and the surest type."""
    event = late(hub, part(1, 1.5, "top", "side"))
    top, side = (
        named(event, *found, status=status).frames[0].recognised
        for found, status in (([("pore", 0.5)], "done"), ([("crack", 0.9), ("pore", 0.3)], "late"))
    )
    frames = tuple(
        frame.model_copy(update={"recognised": one})
        for frame, one in zip(event.frames, (top, side), strict=True)
    )
    store(hub, event.model_copy(update={"frames": frames}))
    with hub.database.reading() as connection:
        row = connection.execute(select(recognitions)).one()
    assert (row.status, row.surest, row.detector_id) == ("late", "crack", "d" * 64)
    counted = {one.type: one.objects for one in count_known(hub, RecognitionWanted()).types}
    assert counted == {"pore": 2, "crack": 1}


@pytest.mark.parametrize(("others", "whole"), [("done", "done"), ("late", "late")])
def test_a_part_of_which_a_frame_was_skipped_is_what_its_others_are(hub, others, whole):
    """One that came late stays out of the table; one that was looked at counts as that."""
    event = late(hub, part(1, 0.5, "top", "side"))
    said = [named(event, status=one).frames[0].recognised for one in ("skipped", others)]
    frames = tuple(
        frame.model_copy(update={"recognised": one})
        for frame, one in zip(event.frames, said, strict=True)
    )
    store(hub, event.model_copy(update={"frames": frames}))
    with hub.database.reading() as connection:
        assert connection.execute(select(recognitions.c.status)).scalar() == whole


def test_several_detectors_of_one_part_count_together(hub):
    """The pores' own numbers know nothing of a crack that another camera's detector named."""
    alone, both = late(hub, part(1, 1.5)), late(hub, part(2, 1.5, "top", "side"))
    store(hub, named(alone, ("pore", 0.9)))
    top, side = (named(both, (kind, 0.9)).frames[0].recognised for kind in ("pore", "crack"))
    side = side.model_copy(update={"detector": "cracks", "detector_id": "c" * 64})
    frames = tuple(
        frame.model_copy(update={"recognised": one})
        for frame, one in zip(both.frames, (top, side), strict=True)
    )
    store(hub, both.model_copy(update={"frames": frames}))
    for number in (1, 2):
        review(hub, number, Decision.DEFECT, defect="pore")
    found = confuse(hub, ConfusionWanted())
    assert {one.detector: one.parts for one in found.detectors} == {
        top.detector: 1,
        f"cracks + {top.detector}": 1,
    }
    pores = confuse(hub, ConfusionWanted(detector_id=top.detector_id))
    assert [(one.found, one.parts) for one in pores.cells] == [("pore", 1)]


def test_what_known_defects_hold_is_asked_for_as_such(hub):
    """Not as near the band, from which its score is far; and so again when a decision goes."""
    held = named(part(1, 0.1), ("crack", 0.9), held=True)
    frame = held.frames[0].model_copy(update={"verdict": Verdict.REVIEW})
    store(hub, held.model_copy(update={"verdict": Verdict.REVIEW, "frames": (frame,)}))
    assert [item.why for item in queue_of(hub, "line-1", "ann", 9)] == [Why.KNOWN]
    review(hub, 1, Decision.UNSURE)
    decide(hub, "part-1", NewReview(decision=Decision.UNDONE, revision=1), ANN)
    assert [item.why for item in queue_of(hub, "line-1", "ann", 9)] == [Why.KNOWN]


@pytest.mark.parametrize(
    ("beside", "lacking", "why"),
    [(Verdict.PASS, "", True), (Verdict.REVIEW, "", False), (Verdict.PASS, "1 of 3", False)],
)
def test_part_is_held_by_known_defects_where_nothing_else_does(hub, beside, lacking, why):
    """Not where another frame's score, or frames that lack, make it what it is."""
    event = named(part(1, 0.1), ("crack", 0.9), held=True)
    first = event.frames[0].model_copy(update={"verdict": Verdict.REVIEW})
    other = first.model_copy(update={"camera": "side", "verdict": beside, "recognised": None})
    fusion = PartFusion(kind="views", frames=1, wanted=1, lacking=lacking)
    change = {"verdict": Verdict.REVIEW, "frames": (first, other), "fusion": fusion}
    store(hub, late(hub, event.model_copy(update=change)))
    assert count_known(hub, RecognitionWanted(hours=24)).held == int(why)


def test_what_known_defects_hold_is_not_the_guards_doing():
    """Drift is watched by what guards hold; a second stage says nothing of the light."""
    event = named(part(1, 0.5), ("crack", 0.9), held=True)
    told = event.frames[0].model_copy(update={"verdict": Verdict.REVIEW, "reason": "known defects"})
    frame = SeenFrame.model_validate(told.model_dump(mode="json"))
    assert not frame.is_held
    guarded = told.model_copy(update={"recognised": None})
    assert SeenFrame.model_validate(guarded.model_dump(mode="json")).is_held


@pytest.mark.parametrize(
    "change",
    [
        {"detector": "d" * 129},
        {"counts": {"t" * 129: 1}, "found": ()},
        {"counts": {"pore": 0}},
        {"counts": {}},
    ],
    ids=str,
)
def test_what_cannot_be_kept_is_refused(sqlite_hub, change):
    """Nothing of the event is stored."""
    event = named(part(1, 1.5), ("pore", 0.9))
    wrong = event.frames[0].recognised.model_copy(update=change)
    frame = event.frames[0].model_copy(update={"recognised": wrong})
    sent = event.model_copy(update={"frames": (frame,)}).model_dump(mode="json")
    (refused,) = store_events(sqlite_hub, SENDER, json.dumps([sent]).encode()).refused
    assert refused.code is RefusalCode.INVALID
    assert list_events(sqlite_hub, EventsWanted()).items == ()


def test_what_cannot_be_asked_is_refused(sqlite_plant):
    """An unknown filter, and a time of no length."""
    viewer = sqlite_plant.person(Role.VIEWER)
    for wrong in ({"colour": "red"}, {"detector_id": "d" * 65}):
        with pytest.raises(Refused) as refused:
            viewer.confusion(24, **wrong)
        assert refused.value.status == 422
    with pytest.raises(Refused):
        viewer.types(0)


def test_a_filter_by_type_reads_an_index(sqlite_hub):
    """Not the records of a million events."""
    query = events_query(EventsWanted(line="line-1", type="crack")).compile(
        sqlite_hub.database._engine, compile_kwargs={"literal_binds": True}
    )
    with sqlite_hub.database.reading() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all()
    steps = " ".join(row[-1] for row in plan)
    assert "SCAN recognised_types" not in steps
    assert "SCAN events" not in steps
