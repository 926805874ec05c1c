"""The numbers of the hub move a challenger on, or back; looking twice moves it once."""

import json
from datetime import timedelta
from itertools import count

import pytest
from sqlalchemy import delete

from inspection.core.decision import Verdict
from inspection.hub.challengers import POLICY, challenge, get_challenger, move
from inspection.hub.hub import Hub
from inspection.hub.ingest import Sender, store_events
from inspection.hub.models import list_choices
from inspection.hub.pulls import offers
from inspection.hub.shadows import take_shadows
from inspection.hub.tables import bundles
from inspection.hub.wire.retraining import Challenger, ChallengerState
from inspection.retraining import rolling
from inspection.retraining.rolling import gather, roll
from inspection.retraining.rollout import Judged
from inspection.retraining.settings import RetrainingConfig
from tests.hub.challenge import CHAMPION, RIVAL, begin, runs, said, set_up
from tests.hub.parts import part

HELD, SHADOW, ROLLOUT = ChallengerState.HELD, ChallengerState.SHADOW, ChallengerState.ROLLOUT
PROMOTED, WITHDRAWN = ChallengerState.PROMOTED, ChallengerState.WITHDRAWN
RULES = {"shadow_parts": 20, "shadow_h": 0.0, "stage_parts": 10, "watch_parts": 20}
RULES |= {"disagreements": 0.5}
NUMBERS = count(1)
STATIONS = ("s1", "s2", "s3", "s4")


def config(allowed: str = "promote", bundle: str = "plate", **policy: object) -> RetrainingConfig:
    product = {"line": "line-1", "product": "plate", "bundle": bundle}
    product |= {"manifest": "set.json", "train": "train.yaml"}
    values = {"allowed": allowed, "rollout": RULES} | policy
    return RetrainingConfig.model_validate({"policy": values, "products": [product]})


def look(hub: Hub, rules: RetrainingConfig | None = None) -> int:
    """Look once; gives how many were moved."""
    return len(roll(hub, rules or config(), hub.now()))


def score_beside(hub: Hub, parts: int, verdict: Verdict = Verdict.PASS) -> None:
    """Let the rival say something of parts that the champion passed at s1."""
    words = [said(next(NUMBERS), verdict, Verdict.PASS) for _ in range(parts)]
    take_shadows(hub, Sender("s1", "line-1"), words)


def judge(
    hub: Hub,
    one: Challenger,
    station: str,
    bundle_id: str,
    parts: int,
    score: float | None = 0.5,
    latency_ms: float = 5.0,
    after_s: float = 0.0,
) -> None:
    """Let a station judge parts, so long after a challenger came to its stage."""
    events = []
    for number in (next(NUMBERS) for _ in range(parts)):
        captured_at = one.since + timedelta(seconds=after_s)
        changes = {"station": station, "captured_at": captured_at, "latency_ms": latency_ms}
        event = part(number, score, bundle_id=bundle_id).model_copy(update=changes)
        events.append(event.model_dump(mode="json") | {"action": "none"})
    store_events(hub, Sender(station, "line-1"), json.dumps(events).encode())


def now(hub: Hub, one: Challenger) -> Challenger:
    return get_challenger(hub, one.id)


def test_a_good_one_comes_to_the_line_by_itself(hub):
    """Every look without news changes nothing but the words."""
    set_up(hub, *STATIONS)
    one = begin(hub)
    judge(hub, one, "s1", CHAMPION, 50)
    assert (look(hub), now(hub, one).state) == (0, SHADOW)
    assert "20 parts are wanted" in now(hub, one).words
    score_beside(hub, 20)
    assert (look(hub), look(hub)) == (1, 0)
    one = now(hub, one)
    assert (one.state, one.stations) == (ROLLOUT, ("s1",))
    judge(hub, one, "s1", RIVAL, 10)
    judge(hub, one, "s2", RIVAL, 10)  # nobody told it to; it counts for nothing
    assert (look(hub), look(hub)) == (1, 0)
    one = now(hub, one)
    assert (one.state, one.stations) == (ROLLOUT, STATIONS)
    judge(hub, one, "s1", RIVAL, 10, after_s=-0.001)  # before the stage
    judge(hub, one, "s3", RIVAL, 19)
    assert look(hub) == 0
    judge(hub, one, "s4", RIVAL, 1)
    assert (look(hub), look(hub)) == (1, 0)
    one = now(hub, one)
    assert (one.state, one.words) == (
        PROMOTED,
        "Promoted: 20 of 20 parts judged on 4 stations, 0 FAULT, 0 not passed.",
    )
    (choice, _) = list_choices(hub, "line-1")
    assert (choice.bundle_id, choice.who) == (RIVAL, "policy")


BAD = {
    "faults": {"parts": 10, "score": None},
    "overkill": {"parts": 20, "score": 4.0},
    "latency": {"parts": 10, "latency_ms": 8.0},
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_one_is_taken_back_from_the_stations_it_came_to(make_hub, sqlite_url, bad):
    """At the next look, in a blackout, and where nothing may happen by itself."""
    hub = make_hub(sqlite_url)
    set_up(hub, *STATIONS)
    one = begin(hub)
    judge(hub, one, "s2", CHAMPION, 100)
    move(hub, one, ROLLOUT, "eve", "I dare", ("s1",))
    judge(hub, now(hub, one), "s1", RIVAL, **bad)
    always = {"blackouts": [{"begin": "00:00", "end": "00:00"}]}
    assert look(hub, config("nothing", **always)) == 1
    one = now(hub, one)
    assert (one.state, one.words.startswith("Taken back: ")) == (WITHDRAWN, True)
    (back,) = offers(hub, "line-1", "s1")
    assert back.bundle_id == CHAMPION
    assert look(hub) == 0


def test_what_a_person_began_goes_on_by_itself_but_not_in_a_blackout(sqlite_hub):
    set_up(sqlite_hub, *STATIONS)
    one = begin(sqlite_hub)
    move(sqlite_hub, one, ROLLOUT, "eve", "I dare", ("s1",))
    judge(sqlite_hub, now(sqlite_hub, one), "s1", RIVAL, 10)
    always = {"blackouts": [{"begin": "00:00", "end": "00:00"}]}
    assert look(sqlite_hub, config("retrain", **always)) == 0
    assert look(sqlite_hub, config("retrain")) == 1
    assert now(sqlite_hub, one).stations == STATIONS


@pytest.mark.parametrize("bundle", ["plate", "lid"])
def test_what_no_product_names_begins_nothing_by_itself(sqlite_hub, bundle):
    set_up(sqlite_hub, *STATIONS)
    one = begin(sqlite_hub, HELD)
    moved = look(sqlite_hub, config(bundle=bundle))
    assert (moved, now(sqlite_hub, one).state) == ((1, SHADOW) if bundle == "plate" else (0, HELD))


def test_one_that_was_compared_with_another_than_judges_waits_for_a_person(sqlite_hub):
    """Somebody chose another bundle while it was trained; the policy does not overrule that."""
    set_up(sqlite_hub, *STATIONS)
    gone = "d" * 64
    one = challenge(
        sqlite_hub, "line-1", "plate", RIVAL, gone, begin(sqlite_hub).comparison, SHADOW
    )
    assert (one.state, look(sqlite_hub)) == (HELD, 0)
    assert "another bundle judges by now" in now(sqlite_hub, one).words


def test_a_station_that_refuses_it_ends_the_rollout(sqlite_hub):
    set_up(sqlite_hub, *STATIONS)
    one = begin(sqlite_hub)
    move(sqlite_hub, one, ROLLOUT, POLICY, "go", ("s1",))
    runs(sqlite_hub, "s2", CHAMPION, note=f"{RIVAL[:12]} refused: of another rollout")
    assert look(sqlite_hub) == 0
    runs(sqlite_hub, "s1", CHAMPION, note=f"{RIVAL[:12]} refused: golden map is off")
    assert look(sqlite_hub) == 1
    assert now(sqlite_hub, one).words == (
        "Taken back: s1: cccccccccccc refused: golden map is off."
    )


def test_without_a_way_back_it_stays_and_says_so(sqlite_hub):
    set_up(sqlite_hub, *STATIONS, chosen=False)
    one = begin(sqlite_hub)
    with sqlite_hub.database.writing() as connection:
        connection.execute(delete(bundles).where(bundles.c.bundle_id == CHAMPION))
    score_beside(sqlite_hub, 20)
    assert (look(sqlite_hub), now(sqlite_hub, one).state) == (0, SHADOW)
    assert "the champion bbbbbbbbbbbb is not on this hub" in now(sqlite_hub, one).words


def test_the_numbers_are_those_of_the_line(sqlite_hub):
    set_up(sqlite_hub, *STATIONS)
    runs(sqlite_hub, "s3", CHAMPION, deadline_ms=80)
    one = begin(sqlite_hub)
    for latency_ms in (1.0, 2.0, 3.0, 4.0):
        judge(sqlite_hub, one, "s1", CHAMPION, 25, latency_ms=latency_ms, after_s=-3600)
    judge(sqlite_hub, one, "s2", CHAMPION, 1, score=None)
    judge(sqlite_hub, one, "s2", CHAMPION, 3, score=1.5)
    move(sqlite_hub, one, ROLLOUT, POLICY, "go", ("s1",))
    one = now(sqlite_hub, one)
    judge(sqlite_hub, one, "s1", RIVAL, 2, latency_ms=7.6)
    judge(sqlite_hub, one, "s1", RIVAL, 2, score=4.0, latency_ms=7.5)
    found = gather(sqlite_hub, config().policy, one, one.since + timedelta(hours=3))
    assert found.champion == Judged(parts=104, faults=1, not_passed=3)
    assert found.judged == Judged(parts=4, faults=0, not_passed=2, slow=2)
    assert (found.slow_ms, found.deadline_ms, found.hours) == (7.5, 80, 3.0)
    assert (found.reached, found.waiting) == (("s1",), ("s2", "s3", "s4"))


def test_two_hubs_that_look_at_once_move_it_once(sqlite_hub, monkeypatch):
    """The second has seen the same, and comes too late."""
    set_up(sqlite_hub, *STATIONS)
    begin(sqlite_hub)
    score_beside(sqlite_hub, 20)
    seen = rolling.open_challengers(sqlite_hub)
    assert look(sqlite_hub) == 1
    monkeypatch.setattr(rolling, "open_challengers", lambda _hub: seen)
    assert look(sqlite_hub) == 0
    assert now(sqlite_hub, seen[0]).stations == ("s1",)
