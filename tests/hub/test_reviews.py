"""Decisions: revisions, conflicts, undoing, blind second reviews, and what they say together."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import select

from inspection.core.errors import ConfigError
from inspection.hub.asking import Conflicted, Refused
from inspection.hub.hub import Hub
from inspection.hub.queue import queue_of
from inspection.hub.refusals import Foreign, NotThere
from inspection.hub.reviews import (
    ReviewConflict,
    decide,
    decisions_in_force,
    summarise,
    undisputed_decisions,
)
from inspection.hub.tables import audit, reviews
from inspection.hub.wire.people import Me, Role
from inspection.hub.wire.review import Decision, NewReview
from tests.hub.conftest import served
from tests.hub.parts import part, store

ANN, BEN, CEM = (Me(account=name, role=Role.REVIEWER) for name in ("ann", "ben", "cem"))
ENGINEER = Me(account="eve", role=Role.ENGINEER)
GOOD, DEFECT, UNSURE, UNDONE = Decision
ALL_TWICE = {"pass_share": 1.0, "second_share": 1.0}


def new(decision: Decision, revision: int = 0, *, second: bool = False) -> NewReview:
    return NewReview(decision=decision, revision=revision, second=second)


def in_force(hub: Hub) -> dict[str, tuple[str, str]]:
    found = decisions_in_force()
    with hub.database.reading() as connection:
        rows = connection.execute(select(found)).all()
    return {row.event_id: (row.decision, row.reviewer) for row in rows}


def log(hub: Hub) -> list[tuple[int, str, str]]:
    with hub.database.reading() as connection:
        rows = connection.execute(select(reviews).order_by(reviews.c.id)).all()
    return [(row.revision, row.reviewer, row.decision) for row in rows]


def test_two_people_decide_the_same_part_and_the_later_one_is_told(plant):
    store(plant.hub, part(1, 1.5))
    ann, ben = (plant.person(Role.REVIEWER, name) for name in ("ann", "ben"))
    item = ann.queue("line-1")[0]
    scratch = NewReview(
        decision=DEFECT, defect="scratch", comment="left edge", revision=item.revision
    )
    said = ann.review(item.event_id, scratch)
    assert (said.revision, said.reviewer, said.defect) == (1, "ann", "scratch")
    with pytest.raises(Conflicted, match="ann said 'defect' meanwhile") as conflict:
        ben.review(item.event_id, new(GOOD))
    assert conflict.value.current == said
    assert in_force(plant.hub) == {"part-1": ("defect", "ann")}
    ben.review(item.event_id, new(GOOD, revision=1))
    assert in_force(plant.hub) == {"part-1": ("good", "ben")}
    assert log(plant.hub) == [(1, "ann", "defect"), (2, "ben", "good")]


def test_of_many_at_the_same_moment_one_decides(make_hub, database_url):
    hubs = [make_hub(database_url), make_hub(database_url)]
    store(hubs[0], part(1, 1.5), part(2, 4.0))
    ready = Barrier(6)

    def say(number: int) -> bool:
        ready.wait(30)
        who = Me(account=f"person-{number}", role=Role.REVIEWER)
        try:
            decide(hubs[number % 2], "part-1", new(GOOD), who)
        except ReviewConflict as conflict:
            return conflict.current.revision != 1
        return True

    with ThreadPoolExecutor(6) as people:
        assert sum(people.map(say, range(6))) == 1
    assert len(log(hubs[0])) == 1


def test_a_decision_is_taken_back_by_its_maker_or_an_engineer(hub):
    store(hub, part(1, 1.5))
    decide(hub, "part-1", new(GOOD), ANN)
    with pytest.raises(Foreign, match="ann said 'good'; only they or an engineer"):
        decide(hub, "part-1", new(UNDONE, 1), BEN)
    decide(hub, "part-1", new(UNDONE, 1), ANN)
    assert in_force(hub) == {}
    with pytest.raises(ConfigError, match="nothing to take back"):
        decide(hub, "part-1", new(UNDONE, 2), ANN)
    decide(hub, "part-1", new(DEFECT, 2), ANN)
    decide(hub, "part-1", new(UNDONE, 3), ENGINEER)
    with hub.database.reading() as connection:
        noted = connection.execute(select(audit.c.actor, audit.c.action).order_by(audit.c.id)).all()
    assert [tuple(row) for row in noted] == [
        ("ann", "review good"),
        ("ann", "review undone"),
        ("ann", "review defect"),
        ("eve", "review undone"),
    ]


def test_what_was_never_there_is_refused(sqlite_hub):
    store(sqlite_hub, part(1, 1.5))
    with pytest.raises(NotThere, match="event 'part-2': is not here"):
        decide(sqlite_hub, "part-2", new(GOOD), ANN)
    with pytest.raises(ConfigError, match="no revision 3; wanted 0"):
        decide(sqlite_hub, "part-1", new(GOOD, 3), ANN)
    with pytest.raises(ConfigError, match="waits for no second review"):
        decide(sqlite_hub, "part-1", new(GOOD, second=True), ANN)
    assert log(sqlite_hub) == []


def test_what_two_people_see_differently_is_disputed_until_it_is_settled(make_hub, database_url):
    """Each step changes one part; what was so at a row of the log is found again later."""
    hub = make_hub(database_url, review=ALL_TWICE)
    store(hub, *(part(number, 1.5) for number in range(1, 4)))
    said = [undisputed(hub)]
    for number, decision, revision, second, who in (
        (1, GOOD, 0, False, ANN),
        (2, DEFECT, 0, False, ANN),
        (3, GOOD, 0, False, ANN),
        (1, DEFECT, 0, True, BEN),  # against
        (2, DEFECT, 0, True, BEN),  # agrees
        (3, UNSURE, 0, True, BEN),  # not sure: against, too
        (3, UNDONE, 1, True, BEN),  # a slip
        (1, GOOD, 1, False, CEM),  # settled with both in sight
    ):
        decide(hub, f"part-{number}", new(decision, revision, second=second), who)
        said.append(undisputed(hub))
    one, two, three = ("part-1", "good"), ("part-2", "defect"), ("part-3", "good")
    assert said[:4] == [set(), {one}, {one, two}, {one, two, three}]
    assert said[4:] == [{two, three}, {two, three}, {two}, {two, three}, {one, two, three}]
    assert [undisputed(hub, until) for until in range(9)] == said


def undisputed(hub: Hub, until: int | None = None) -> set[tuple[str, str]]:
    found = undisputed_decisions(until)
    with hub.database.reading() as connection:
        return {(row.event_id, row.decision) for row in connection.execute(select(found))}


def test_the_second_review_is_another_persons(make_hub, database_url):
    hub = make_hub(database_url, review=ALL_TWICE)
    store(hub, part(1, 1.5))
    decide(hub, "part-1", new(GOOD), ANN)
    with pytest.raises(Foreign, match="the first review is yours"):
        decide(hub, "part-1", new(GOOD, second=True), ANN)
    decide(hub, "part-1", new(DEFECT, second=True), BEN)
    for revision in (0, 1):  # who was slower, and who saw that and tries on top of it
        with pytest.raises(ReviewConflict, match="revision 1; the second review is made"):
            decide(hub, "part-1", new(GOOD, revision, second=True), CEM)
    assert in_force(hub) == {"part-1": ("good", "ann")}
    item = queue_of(hub, "line-1", "cem", 10)[0]
    assert (item.why, item.second, item.revision) == ("disagreeing", False, 1)
    decide(hub, "part-1", new(DEFECT, 1), CEM)
    assert in_force(hub) == {"part-1": ("defect", "cem")}
    assert queue_of(hub, "line-1", "cem", 10) == ()


def test_the_summary_counts_what_was_said_and_how_far_two_agree(make_hub, database_url):
    hub = make_hub(database_url, review=ALL_TWICE)
    store(hub, *(part(number, 0.5) for number in range(1, 7)), part(7, 4.0))
    firsts = {1: GOOD, 2: GOOD, 3: GOOD, 4: DEFECT, 5: UNSURE, 7: GOOD}
    for number, decision in firsts.items():
        decide(hub, f"part-{number}", new(decision), ANN)
    for number, decision in {1: GOOD, 2: GOOD, 3: DEFECT, 4: DEFECT}.items():
        decide(hub, f"part-{number}", new(decision, second=True), BEN)
    decide(hub, "part-3", new(DEFECT, 1), CEM)  # with both in sight: no pair
    said = summarise(hub, "line-1")
    assert said.decisions == {GOOD: 3, DEFECT: 2, UNSURE: 1}
    assert (said.reviewed, said.sampled, said.defects) == (6, 6, {"unnamed": 2})
    assert said.waiting == 3  # part 6, and second reviews of 5 and 7
    assert (said.agreement.pairs, said.agreement.agreed, said.agreement.kappa) == (4, 3, 0.5)
    assert (said.escapes.count, said.escapes.of, said.escapes.value) == (2, 4, 0.5)
    assert said.escapes.low == pytest.approx(0.150, abs=1e-3)  # Wilson's interval of 2 of 4
    assert said.escapes.high == pytest.approx(0.850, abs=1e-3)
    nothing = summarise(hub, "line-2")
    assert (nothing.agreement.kappa, nothing.escapes.value, nothing.escapes.high) == (None, None, 1)


def test_a_slip_that_was_taken_back_is_no_disagreement(make_hub, sqlite_url):
    hub = make_hub(sqlite_url, review=ALL_TWICE)
    store(hub, part(1, 1.5))
    decide(hub, "part-1", new(DEFECT), ANN)
    decide(hub, "part-1", new(GOOD, second=True), BEN)
    decide(hub, "part-1", new(UNDONE, 1), ANN)
    assert summarise(hub, "line-1").agreement.pairs == 0


def test_who_may_only_look_decides_nothing(sqlite_plant):
    store(sqlite_plant.hub, part(1, 1.5))
    viewer = sqlite_plant.person(Role.VIEWER)
    for ask in (lambda: viewer.queue("line-1"), lambda: viewer.review("part-1", new(GOOD))):
        with pytest.raises(Refused, match="this needs reviewer") as refusal:
            ask()
        assert refusal.value.status == 403
    assert viewer.review_summary("line-1").waiting == 1


def test_statuses_tell_what_was_wrong(make_hub, sqlite_url):
    with served(make_hub(sqlite_url, review=ALL_TWICE)) as plant:
        store(plant.hub, part(1, 1.5))
        ann = plant.person(Role.REVIEWER, "ann")
        ann.review("part-1", new(GOOD))
        for event_id, asked, status in (
            ("part-2", new(GOOD), 404),
            ("part-1", new(GOOD, second=True), 403),
            ("part-1", new(GOOD, 7, second=True), 422),
        ):
            with pytest.raises(Refused) as refusal:
                ann.review(event_id, asked)
            assert refusal.value.status == status
