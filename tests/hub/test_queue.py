"""Which parts wait for a person, in which order, and until when."""

from types import SimpleNamespace

import pytest
from sqlalchemy import func, select

from inspection.core.draw import is_drawn
from inspection.hub.hub import Hub
from inspection.hub.queue import Ask, first_ask, next_ask, queue_of, waiting
from inspection.hub.reviews import decide
from inspection.hub.tables import draws
from inspection.hub.wire.people import Me, Role
from inspection.hub.wire.review import Decision, NewReview, Why
from tests.hub.parts import part, store

ANN, BEN = (Me(account=name, role=Role.REVIEWER) for name in ("ann", "ben"))
NO_DRAWS = {"pass_share": 0.0, "second_share": 0.0}


def seen(verdict: str, score: float | None, review_above: float = 1.0) -> dict[str, object]:
    """Give what the queue looks at of an event with a band up to 2."""
    band = {"review_above": review_above, "reject_above": 2.0}
    return {"event_id": "e", "verdict": verdict, "score": score} | band


@pytest.mark.fast
@pytest.mark.parametrize(
    ("event", "why", "value"),
    [
        (seen("REVIEW", 1.0), Why.NEAR_BAND, 1.0),
        (seen("REVIEW", 1.5), Why.NEAR_BAND, 0.5),
        (seen("REVIEW", 1.9), Why.NEAR_BAND, 0.9),
        (seen("REVIEW", 9.0), Why.NEAR_BAND, 0.5),  # an accept rule made it one
        (seen("REJECT", 2.1), Why.NEAR_BAND, 0.9),
        (seen("REJECT", 2.08, 2.0), Why.NEAR_BAND, 0.8),  # a band of one threshold
        (seen("REJECT", 4.0), Why.REJECTED, 0.3),
        (seen("REJECT", 5.1), Why.NOVEL, 0.9),
        (seen("REJECT", None), Why.REJECTED, 0.3),  # no station of ours says so
        (seen("FAULT", None), Why.FAULT, 0.4),
    ],
)
def test_a_part_waits_by_what_its_verdict_rests_on(event, why, value):
    assert first_ask(event, drawn=False, reached=5.0) == Ask(why, value)


@pytest.mark.fast
def test_a_pass_waits_only_if_it_was_drawn():
    near = seen("PASS", 0.999)
    assert first_ask(near, drawn=False, reached=None) is None
    assert first_ask(near, drawn=True, reached=None) == Ask(Why.SAMPLED_PASS, 0.9)


@pytest.mark.fast
def test_about_the_configured_share_is_drawn_and_always_the_same():
    drawn = [number for number in range(20_000) if is_drawn(f"part-{number}", "pass", 0.01)]
    assert 150 < len(drawn) < 250  # 200 expected; 3.6 deviations
    assert drawn[:3] == [44, 63, 95]  # of another hub, another day
    both = [number for number in drawn if is_drawn(f"part-{number}", "second", 0.01)]
    assert len(both) < 20  # the two draws know nothing of each other


def log(*said: tuple[str, str, bool]) -> list[SimpleNamespace]:
    """Give rows of reviews in order: reviewer, decision, and whether it is a second review."""
    return [
        SimpleNamespace(id=number, reviewer=who, decision=what, second=second)
        for number, (who, what, second) in enumerate(said)
    ]


UNSEEN = Ask(Why.REJECTED, 0.3)
BLIND = Ask(Why.SECOND, 0.9, second=True, not_for="ann")
SETTLE = Ask(Why.DISAGREEING, 1.0)
FOR_ANOTHER = Ask(Why.DISAGREEING, 1.0, not_for="ann")


@pytest.mark.fast
@pytest.mark.parametrize(
    ("verdict", "share", "said", "wanted"),
    [
        ("REJECT", 0, [("ann", "defect", False)], None),
        ("REJECT", 0, [("ann", "defect", False), ("ann", "undone", False)], UNSEEN),
        ("REJECT", 0, [("ann", "good", False)], FOR_ANOTHER),
        ("PASS", 0, [("ann", "defect", False)], FOR_ANOTHER),
        ("REJECT", 0, [("ann", "unsure", False)], None),
        ("REVIEW", 0, [("ann", "good", False)], None),
        ("REJECT", 0, [("ann", "good", False), ("ben", "good", False)], None),
        ("REJECT", 0, [("ann", "good", False), ("ben", "defect", False)], None),
        ("REVIEW", 1, [("ann", "good", False)], BLIND),
        ("REJECT", 1, [("ann", "good", False)], BLIND),
        ("REVIEW", 1, [("ann", "good", False), ("ben", "good", True)], None),
        ("REVIEW", 1, [("ann", "good", False), ("ben", "unsure", True)], SETTLE),
        (
            "REVIEW",
            1,
            [("ann", "good", False), ("ben", "defect", True), ("cem", "good", False)],
            None,
        ),
        (
            "REVIEW",
            1,
            [("ann", "good", False), ("ben", "defect", True), ("ben", "undone", True)],
            BLIND,
        ),
    ],
)
def test_a_decided_part_waits_again_only_for_somebody_elses_word(verdict, share, said, wanted):
    assert next_ask(seen(verdict, 9.0), log(*said), share, UNSEEN) == wanted


def say(hub: Hub, number: int, decision: Decision, who: Me = ANN, revision: int = 0) -> None:
    decide(hub, f"part-{number}", NewReview(decision=decision, revision=revision), who)


def order(hub: Hub, who: Me = ANN) -> list[tuple[str, Why]]:
    return [(one.event_id, one.why) for one in queue_of(hub, "line-1", who.account, 100)]


def test_the_queue_is_ordered_by_value_and_a_decision_takes_a_part_out(make_hub, database_url):
    hub = make_hub(database_url, review=NO_DRAWS)
    store(hub, part(1, 0.5), part(2, 1.5), part(3, None), part(4, 2.0), part(5, 4.0))
    first, *others = queue_of(hub, "line-1", "ann", 100)
    assert (first.event_id, first.part_id, first.revision) == ("part-4", "serial 4", 0)
    assert [one.event_id for one in others] == ["part-5", "part-2", "part-3"]
    say(hub, 4, Decision.GOOD)
    assert order(hub)[0] == ("part-5", Why.NOVEL)
    assert order(hub, BEN) == order(hub)
    say(hub, 4, Decision.UNDONE, revision=1)
    again = queue_of(hub, "line-1", "ann", 1)[0]
    assert (again.event_id, again.why, again.revision) == ("part-4", Why.NEAR_BAND, 2)
    with hub.database.reading() as connection:
        assert (waiting(connection, "line-1"), waiting(connection, "line-2")) == (4, 0)


def test_what_lies_no_farther_than_a_part_decided_on_is_not_novel(make_hub, database_url):
    hub = make_hub(database_url, review=NO_DRAWS)
    other = part(4, 3.5, bundle_id="c" * 64)
    store(hub, part(1, 4.0), part(2, 5.0), part(3, 6.0), other)
    say(hub, 2, Decision.DEFECT)
    store(hub, part(5, 4.5))
    say(hub, 1, Decision.DEFECT)  # nearer: nothing changes
    assert set(order(hub)) == {
        ("part-3", Why.NOVEL),
        ("part-4", Why.NOVEL),  # scores of another bundle say nothing
        ("part-5", Why.REJECTED),
    }


def test_drawn_pass_parts_wait_and_stay_known_as_drawn(make_hub, database_url):
    hub = make_hub(database_url, review={"pass_share": 0.3, "second_share": 0.0})
    store(hub, *(part(number, 0.5) for number in range(1, 41)))
    drawn = {f"part-{number}" for number in range(1, 41) if is_drawn(f"part-{number}", "pass", 0.3)}
    assert {event_id for event_id, _ in order(hub)} == drawn
    first = queue_of(hub, "line-1", "ann", 1)[0].event_id
    say(hub, int(first.removeprefix("part-")), Decision.GOOD)
    assert {event_id for event_id, _ in order(hub)} == drawn - {first}
    with hub.database.reading() as connection:
        assert connection.execute(select(func.count()).select_from(draws)).scalar_one() == len(
            drawn
        )


def test_a_blind_second_review_waits_for_everybody_but_the_first_reviewer(make_hub, sqlite_url):
    hub = make_hub(sqlite_url, review={"pass_share": 0.0, "second_share": 1.0})
    store(hub, part(1, 1.5))
    say(hub, 1, Decision.GOOD)
    assert order(hub) == []
    (item,) = queue_of(hub, "line-1", "ben", 100)
    assert (item.why, item.second, item.revision) == (Why.SECOND, True, 0)


def test_of_equal_parts_each_person_gets_another_first(make_hub, sqlite_url):
    hub = make_hub(sqlite_url, review=NO_DRAWS)
    store(hub, *(part(number, 1.5) for number in range(1, 61)))
    firsts = {queue_of(hub, "line-1", f"person {number}", 1)[0].event_id for number in range(8)}
    assert len(firsts) >= 6
    assert order(hub) == order(hub)
    assert len(set(order(hub))) == 60


def test_an_event_sent_again_is_not_asked_for_again(make_hub, sqlite_url):
    hub = make_hub(sqlite_url, review=NO_DRAWS)
    store(hub, part(1, 1.5))
    say(hub, 1, Decision.GOOD)
    store(hub, part(1, 1.5))
    assert order(hub) == []
