"""What challengers said: taken once, of a station's own parts, added up and asked about."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from inspection.core.decision import Verdict
from inspection.hub.asking import Refused
from inspection.hub.challengers import challenge, list_challengers, move
from inspection.hub.hub import Hub
from inspection.hub.ingest import Sender
from inspection.hub.loop_tables import disagreements, shadow_counts, shadows
from inspection.hub.queue import queue_of
from inspection.hub.refusals import Foreign
from inspection.hub.retention import _delete_events
from inspection.hub.reviews import decide
from inspection.hub.shadow_counts import WIDER, bucket_of
from inspection.hub.shadows import take_shadows
from inspection.hub.wire.people import Me, Role
from inspection.hub.wire.retraining import ChallengerState, ShadowReport
from inspection.hub.wire.review import Decision, NewReview, Why
from tests.hub.challenge import CHAMPION, OTHER, RIVAL, begin, said, set_up, take
from tests.hub.parts import BEGIN, part, store

PASS, REVIEW, REJECT, FAULT = Verdict.PASS, Verdict.REVIEW, Verdict.REJECT, Verdict.FAULT
ANN = Me(account="ann", role=Role.REVIEWER)
NO_DRAWS = {"pass_share": 0.0, "second_share": 0.0}


@pytest.fixture
def line(make_hub, database_url) -> Hub:
    """A hub, on each database, whose line has a challenger in the shadow."""
    hub = make_hub(database_url, review=NO_DRAWS)
    set_up(hub, "station-1", "station-2")
    begin(hub)
    return hub


@pytest.fixture
def sqlite_line(make_hub, sqlite_url) -> Hub:
    """The same on SQLite, where two parts are looked at in a shift."""
    hub = make_hub(sqlite_url, review=NO_DRAWS | {"per_shift": 2})
    set_up(hub, "station-1", "station-2")
    begin(hub)
    return hub


def report(hub: Hub) -> ShadowReport:
    (one,) = list_challengers(hub)
    return one.shadow


def waiting(hub: Hub) -> list[tuple[str, Why]]:
    return [(one.event_id, one.why) for one in queue_of(hub, "line-1", "ann", 100)]


def say(hub: Hub, number: int, decision: Decision, revision: int = 0) -> None:
    decide(hub, f"part-{number}", NewReview(decision=decision, revision=revision), ANN)


def test_what_was_said_is_added_up_by_part_and_held_against_reviews(line):
    store(line, *(part(number, 0.5) for number in range(1, 5)), part(5, 4.0))
    sent = [
        said(1, PASS, PASS),
        said(2, REVIEW, PASS),
        said(3, REJECT, PASS, latency_ms=9.0),
        said(4, FAULT, PASS, latency_ms=99.0),
        said(5, REJECT, REJECT),
        said(5, PASS, PASS, camera="side"),
    ]
    assert take(line, *sent) == 6
    say(line, 2, Decision.DEFECT)
    say(line, 3, Decision.GOOD)
    found = report(line)
    assert found.latency_p99_ms == pytest.approx(9.0, rel=0.02)
    assert found == ShadowReport(
        parts=5,
        disagreements=2,
        let_pass=0,
        reviewed=2,
        challenger_right=1,
        champion_right=1,
        defects_challenger_right=1,
        defects_champion_right=0,
        faults=1,
        not_passed=3,
        champion_not_passed=1,
        latency_p99_ms=found.latency_p99_ms,
        since=BEGIN.replace(second=1),
    )


def test_who_looked_and_is_not_sure_has_looked(sqlite_line):
    """Nobody is asked again, so a challenger must not wait for it."""
    store(sqlite_line, part(1, 4.0), part(2, 4.0))
    take(sqlite_line, said(1, PASS, REJECT), said(2, PASS, REJECT))
    say(sqlite_line, 1, Decision.UNSURE)
    found = report(sqlite_line)
    assert (found.reviewed, found.let_pass, found.let_pass_reviewed) == (0, 2, 1)


def test_what_only_a_challenger_lets_pass_is_asked_for_before_what_it_holds(sqlite_line):
    """Two are looked at in a shift; the older one that it would let pass is among them."""
    store(sqlite_line, part(1, 4.0), *(part(number, 0.5) for number in range(2, 6)))
    take(sqlite_line, said(1, PASS, REJECT), *(said(n, REJECT, PASS) for n in range(2, 6)))
    asked = {event_id for event_id, why in waiting(sqlite_line) if why is Why.SHADOW}
    assert asked == {"part-1", "part-5"}


def test_reviewed_defects_are_counted_by_themselves_and_disputed_parts_not_at_all(
    make_hub, database_url
):
    """Two reviewers who contradict each other move no rollout, until one settles it."""
    hub = make_hub(database_url, review={"pass_share": 0.0, "second_share": 1.0})
    set_up(hub, "station-1")
    begin(hub)
    store(hub, *(part(number, 4.0) for number in range(1, 5)))
    take(hub, *(said(number, PASS, REJECT) for number in range(1, 5)))
    for number in range(1, 4):
        say(hub, number, Decision.DEFECT)
    say(hub, 4, Decision.GOOD)
    found = report(hub)
    assert (found.challenger_right, found.champion_right) == (1, 3)
    assert (found.defects_challenger_right, found.defects_champion_right) == (0, 3)
    assert (found.let_pass, found.let_pass_reviewed) == (4, 4)
    doubt = NewReview(decision=Decision.GOOD, revision=0, second=True)
    decide(hub, "part-1", doubt, Me(account="ben", role=Role.REVIEWER))
    found = report(hub)
    assert (found.reviewed, found.champion_right, found.defects_champion_right) == (3, 2, 2)
    say(hub, 1, Decision.DEFECT, revision=1)
    assert (report(hub).reviewed, report(hub).defects_champion_right) == (4, 3)


def test_the_same_again_changes_nothing(line):
    store(line, part(1, 0.5))
    for _ in range(2):
        assert take(line, said(1, REJECT, PASS)) == 1
        assert (report(line).parts, waiting(line)) == (1, [("part-1", Why.SHADOW)])
    say(line, 1, Decision.UNSURE)
    assert take(line, said(1, REJECT, PASS), said(1, PASS, PASS)) == 2
    assert (report(line).disagreements, report(line).reviewed, waiting(line)) == (1, 0, [])


def test_a_part_on_which_they_differ_waits_before_all_others(line):
    """A PASS that was not drawn, too; one that waits already has another reason from then on."""
    store(line, part(1, 0.5), part(2, 1.5), part(3, 4.0), part(4, 2.0))
    take(line, said(1, REVIEW, PASS), said(2, REJECT, REVIEW), said(3, PASS, REJECT))
    assert set(waiting(line)[:2]) == {("part-1", Why.SHADOW), ("part-3", Why.SHADOW)}
    assert set(waiting(line)[2:]) == {("part-2", Why.NEAR_BAND), ("part-4", Why.NEAR_BAND)}


def test_an_event_that_comes_long_after_what_was_said_of_it_waits_when_it_comes(line):
    """A station's outbox brings it an hour late, when they differed on others since."""
    take(line, said(1, REJECT, PASS), said(2, PASS, PASS))
    later = BEGIN + timedelta(hours=1)
    take(line, *(said(number, REJECT, PASS, at=later) for number in range(10, 20)))
    store(line, part(3, 0.5))
    assert waiting(line) == []
    store(line, part(1, 0.5), part(2, 0.5))
    assert waiting(line) == [("part-1", Why.SHADOW)]


def test_an_event_that_waits_already_when_it_comes_waits_for_the_challenger(line):
    """It is REVIEW for the champion, and would pass."""
    take(line, said(1, PASS, REVIEW))
    store(line, part(1, 1.5))
    assert waiting(line) == [("part-1", Why.SHADOW)]


def test_a_fault_of_the_challenger_is_nothing_to_decide(line):
    store(line, part(1, 0.5))
    take(line, said(1, FAULT, PASS), said(1, REJECT, PASS, camera="side"))
    assert (waiting(line), report(line).faults, report(line).disagreements) == ([], 1, 0)


def test_a_decision_taken_back_lets_the_part_wait_for_the_same_reason(sqlite_line):
    store(sqlite_line, part(1, 0.5))
    take(sqlite_line, said(1, REJECT, PASS))
    say(sqlite_line, 1, Decision.GOOD)
    assert waiting(sqlite_line) == []
    say(sqlite_line, 1, Decision.UNDONE, revision=1)
    assert waiting(sqlite_line) == [("part-1", Why.SHADOW)]


def test_no_more_wait_than_a_shift_looks_at_and_the_newest_first(sqlite_line):
    store(sqlite_line, *(part(number, 0.5) for number in range(1, 6)))
    take(sqlite_line, *(said(number, REJECT, PASS) for number in range(1, 6)))
    assert {event_id for event_id, _ in waiting(sqlite_line)} == {"part-4", "part-5"}
    say(sqlite_line, 5, Decision.GOOD)
    take(sqlite_line, said(6, PASS, PASS))
    assert {event_id for event_id, _ in waiting(sqlite_line)} == {"part-3", "part-4"}


def test_a_station_speaks_of_its_own_parts_only(sqlite_line):
    store(sqlite_line, part(1, 0.5))
    with pytest.raises(Foreign, match="event 'part-1': is not of station 'station-2'"):
        take_shadows(sqlite_line, Sender("station-2", "line-1"), [said(1, REJECT, PASS)])
    assert report(sqlite_line).parts == 0


def test_what_is_of_no_challenger_of_the_line_is_left_out(sqlite_line):
    sent = said(1, REJECT, PASS), said(1, REJECT, PASS, bundle_id=OTHER)
    assert (take(sqlite_line, *sent), take(sqlite_line)) == (1, 0)
    elsewhere = Sender("station-3", "line-2")
    assert take_shadows(sqlite_line, elsewhere, [said(2, PASS, PASS)]) == 0


def test_all_parts_count_however_many(line):
    """Hours of a fast line, in lots, some of which come twice, and frames that come later."""
    for lot in range(4):
        sent = [
            said(lot * 100 + number, PASS, PASS, latency_ms=1.0 + number % 100)
            for number in range(100)
        ]
        take(line, *sent)
        take(line, *sent)
    found = report(line)
    assert (found.parts, found.disagreements, found.since) == (400, 0, BEGIN)
    assert found.latency_p99_ms == pytest.approx(99.0, rel=0.02)


def test_a_part_moves_from_one_count_to_the_next_as_its_frames_come(line):
    store(line, part(1, 0.5), part(2, 0.5))
    take(line, said(1, PASS, PASS))
    take(line, said(1, REJECT, PASS, camera="side"), said(2, REJECT, PASS))
    found = report(line)
    assert (found.parts, found.disagreements, found.not_passed) == (2, 2, 2)
    assert len(waiting(line)) == 2
    say(line, 1, Decision.GOOD)
    assert report(line).champion_right == 1
    take(line, said(1, FAULT, PASS, camera="below"), said(2, REJECT, REJECT, camera="side"))
    found = report(line)
    assert (found.parts, found.disagreements, found.faults) == (2, 0, 1)
    assert (found.not_passed, found.champion_not_passed, found.reviewed) == (1, 1, 0)


def test_what_nobody_scored_has_no_latency_and_no_beginning(line):
    found = report(line)
    assert (found.parts, found.latency_p99_ms, found.since) == (0, None, None)
    take(line, said(1, FAULT, PASS))
    found = report(line)
    assert (found.parts, found.faults, found.latency_p99_ms) == (1, 1, None)


def test_the_same_bundle_that_challenges_again_begins_anew(sqlite_line):
    store(sqlite_line, part(1, 0.5))
    take(sqlite_line, said(1, REJECT, PASS))
    (first,) = list_challengers(sqlite_line)
    move(sqlite_line, first, ChallengerState.WITHDRAWN, "eve", "not now")
    again = challenge(
        sqlite_line, "line-1", "plate", RIVAL, OTHER, first.comparison, ChallengerState.SHADOW
    )
    take(sqlite_line, said(2, PASS, PASS))
    newest, oldest = list_challengers(sqlite_line)
    assert (newest.id, newest.shadow.parts, newest.shadow.disagreements) == (again.id, 1, 0)
    assert (oldest.shadow.parts, oldest.shadow.disagreements) == (1, 1)
    take(sqlite_line, said(1, REJECT, PASS), said(1, PASS, PASS, camera="side"))
    newest, oldest = list_challengers(sqlite_line)
    assert (newest.shadow.parts, oldest.shadow.parts) == (2, 1)
    with sqlite_line.database.reading() as connection:
        counts = connection.execute(select(shadow_counts.c.parts)).scalars().all()
    assert sorted(counts) == [1, 2]  # what counts for the first is not taken off the second


def test_what_was_said_of_an_event_goes_with_it_and_stays_counted(sqlite_line):
    store(sqlite_line, part(1, 0.5), part(2, 0.5))
    take(sqlite_line, said(1, REJECT, PASS), said(2, PASS, PASS))
    with sqlite_line.database.writing() as connection:
        _delete_events(connection, ["part-1"])
        kept = [
            connection.execute(select(one.c.event_id)).scalars().all()
            for one in (shadows, disagreements)
        ]
    assert kept == [["part-2"], []]
    assert report(sqlite_line).parts == 2


@pytest.mark.fast
@pytest.mark.parametrize("latency_ms", [0.0, 0.001, 0.5, 1.0, 99.0, 60_000.0])
def test_a_bucket_is_at_most_two_percent_wide(latency_ms):
    upper_ms = WIDER ** bucket_of(latency_ms)
    assert latency_ms <= upper_ms * (1 + 1e-9)
    assert upper_ms <= max(latency_ms, 0.001) * WIDER * (1 + 1e-9)


def test_stations_send_and_people_do_not(sqlite_plant):
    hub, token = sqlite_plant.hub, sqlite_plant.station_token()
    set_up(hub, "station-2")
    begin(hub)
    station = sqlite_plant.client(token)
    assert station.send_shadows((said(1, REJECT, PASS),)).stored == 1
    with pytest.raises(Refused, match="not known here"):
        sqlite_plant.person(Role.ADMIN).send_shadows((said(1, REJECT, PASS),))
    with pytest.raises(Refused, match="at most 500"):
        station.send_shadows((said(1, PASS, PASS),) * 501)
    (one,) = sqlite_plant.person(Role.VIEWER).challengers("line-1")
    assert (one.shadow.parts, one.bundle_id, one.champion_id) == (1, RIVAL, CHAMPION)
