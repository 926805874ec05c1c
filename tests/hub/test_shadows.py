"""What challengers said: taken once, of a station's own parts, added up and asked about."""

import pytest

from inspection.core.decision import Verdict
from inspection.hub import shadows as shadows_module
from inspection.hub.asking import Refused
from inspection.hub.challengers import list_challengers
from inspection.hub.hub import Hub
from inspection.hub.ingest import Sender
from inspection.hub.queue import queue_of
from inspection.hub.refusals import Foreign
from inspection.hub.retention import _delete_events
from inspection.hub.reviews import decide
from inspection.hub.shadows import percentile_99, take_shadows
from inspection.hub.wire.people import Me, Role
from inspection.hub.wire.retraining import ShadowReport
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
    assert report(line) == ShadowReport(
        parts=5,
        disagreements=2,
        reviewed=2,
        challenger_right=1,
        champion_right=1,
        faults=1,
        not_passed=3,
        champion_not_passed=1,
        latency_p99_ms=9.0,
        since=BEGIN.replace(second=1),
    )


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


def test_an_event_that_comes_after_what_was_said_of_it_waits_with_the_next_one(line):
    take(line, said(1, REJECT, PASS))
    store(line, part(1, 0.5), part(2, 0.5))
    assert waiting(line) == []
    take(line, said(2, PASS, PASS))
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


def test_only_the_last_parts_are_weighed(sqlite_line, monkeypatch):
    monkeypatch.setattr(shadows_module, "LAST", 2)
    take(sqlite_line, *(said(n, PASS, PASS, latency_ms=10.0 - n) for n in range(1, 6)))
    assert report(sqlite_line).latency_p99_ms == 6.0


def test_what_was_said_of_an_event_goes_with_it(sqlite_line):
    store(sqlite_line, part(1, 0.5), part(2, 0.5))
    take(sqlite_line, said(1, PASS, PASS), said(2, PASS, PASS))
    with sqlite_line.database.writing() as connection:
        _delete_events(connection, ["part-1"])
    assert report(sqlite_line).parts == 1


@pytest.mark.fast
@pytest.mark.parametrize(
    ("values", "wanted"),
    [([3.0], 3.0), ([2.0, 1.0], 2.0), (list(range(100)), 98), (list(range(200)), 197)],
)
def test_the_99th_percentile_is_one_of_the_values(values, wanted):
    assert percentile_99(values) == wanted


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
