"""The numbers of the hub move a challenger on, or back; looking twice moves it once."""

import json
from datetime import timedelta
from itertools import count

import pytest
from sqlalchemy import delete, select, update

from inspection.core.decision import Band, Verdict, severity
from inspection.core.errors import InspectionError
from inspection.core.records import FrameRecord
from inspection.hub.challengers import POLICY, challenge, get_challenger, move
from inspection.hub.hub import Hub
from inspection.hub.ingest import Sender, store_events
from inspection.hub.loop_tables import alarms, challengers
from inspection.hub.models import choose, list_choices
from inspection.hub.reviews import decide
from inspection.hub.shadows import take_shadows
from inspection.hub.stations import enrol, retire
from inspection.hub.tables import bundles, events, stations
from inspection.hub.thresholds import apply_thresholds, list_thresholds
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.models import NewChoice
from inspection.hub.wire.people import Me, Role
from inspection.hub.wire.retraining import Challenger, ChallengerState, JobKind, JobState
from inspection.hub.wire.review import Decision, NewReview
from inspection.hub.wire.thresholds import NewThresholds
from inspection.metrics.causes import Cause
from inspection.retraining import rolling
from inspection.retraining.rolling import gather, percentile_99, roll
from inspection.retraining.rollout import Judged
from inspection.retraining.settings import RetrainingConfig
from tests.hub.challenge import CHAMPION, OTHER, RIVAL, add_bundles, begin, runs, said, set_up
from tests.hub.parts import part
from tests.hub.test_challengers import offers
from tests.retraining.loop import end_job, make_config, raise_alarm
from tests.retraining.plant import know_bundle

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
    beside: FrameRecord | None = None,
) -> None:
    """Let a station judge parts, so long after a challenger came to its stage.

    `beside` is a further frame of each, which decides where it is worse.
    """
    events = []
    for number in (next(NUMBERS) for _ in range(parts)):
        captured_at = one.since + timedelta(seconds=after_s)
        changes = {"station": station, "captured_at": captured_at, "latency_ms": latency_ms}
        event = part(number, score, bundle_id=bundle_id).model_copy(update=changes)
        if beside is not None:
            worst = max(event.verdict, beside.verdict, key=severity)
            frames = {"frames": (*event.frames, beside), "verdict": worst}
            event = event.model_copy(update=frames)
        events.append(event.model_dump(mode="json") | {"action": "none"})
    for first in range(0, parts, 100):
        lot = json.dumps(events[first : first + 100]).encode()
        store_events(hub, Sender(station, "line-1"), lot)


def now(hub: Hub, one: Challenger) -> Challenger:
    return get_challenger(hub, one.id)


def test_a_good_one_comes_to_the_line_by_itself(hub):
    """Every look without news changes nothing but the words."""
    set_up(hub, *STATIONS)
    one = begin(hub)
    judge(hub, one, "s1", CHAMPION, 300)
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
    judge(hub, one, "s2", CHAMPION, 300)
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


def test_nothing_comes_to_a_line_whose_lens_is_dirty(sqlite_hub):
    """Its own reference would be of the smear, which nobody would see again."""
    set_up(sqlite_hub, *STATIONS)
    one = begin(sqlite_hub)
    judge(sqlite_hub, one, "s1", CHAMPION, 300)
    score_beside(sqlite_hub, 20)
    raise_alarm(sqlite_hub, Cause.TEXTURE, bundle_id=CHAMPION)  # a training's, nobody's to mend
    raise_alarm(sqlite_hub, Cause.FOCUS, bundle_id=CHAMPION)
    assert look(sqlite_hub) == 0
    assert "when what moved is mended, or its alarm dismissed (Clean" in now(sqlite_hub, one).words
    cleaned = update(alarms).where(alarms.c.cause == Cause.FOCUS)
    with sqlite_hub.database.writing() as connection:
        connection.execute(cleaned.values(cleared_at=sqlite_hub.now(), why_cleared="settled"))
    assert (look(sqlite_hub), now(sqlite_hub, one).state) == (1, ROLLOUT)


def test_the_lens_of_a_station_nobody_hears_of_keeps_no_other_waiting(sqlite_hub):
    set_up(sqlite_hub, *STATIONS)
    one = begin(sqlite_hub)
    judge(sqlite_hub, one, "s1", CHAMPION, 300)
    score_beside(sqlite_hub, 20)
    raise_alarm(sqlite_hub, Cause.FOCUS, bundle_id=CHAMPION, station="s4")
    assert look(sqlite_hub) == 0
    long_ago = sqlite_hub.now() - timedelta(hours=3)
    with sqlite_hub.database.writing() as connection:
        gone = update(stations).where(stations.c.station == "s4")
        connection.execute(gone.values(seen_at=long_ago))
    assert (look(sqlite_hub), now(sqlite_hub, one).state) == (1, ROLLOUT)


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
    patient = config(rollout=dict(RULES) | {"latency_factor": 2.0}).policy
    assert gather(sqlite_hub, patient, one, one.since).slow_ms == 10.0


def other_frame(score: float | None) -> FrameRecord:
    """Give what a bundle of another name makes of the part's other side."""
    frame = part(1, score, bundle_id=OTHER).frames[0]
    return frame.model_copy(update={"camera": "side"})


def test_a_bundle_answers_for_its_own_frames_whoever_decided(sqlite_hub):
    """Beside it a bundle of another name decides all parts: by REJECT, or by a higher score."""
    set_up(sqlite_hub, *STATIONS)
    one = begin(sqlite_hub)
    judge(sqlite_hub, one, "s2", CHAMPION, 1, score=1.5)
    judge(sqlite_hub, one, "s2", CHAMPION, 9, beside=other_frame(4.0))
    move(sqlite_hub, one, ROLLOUT, POLICY, "go", ("s1",))
    one = now(sqlite_hub, one)
    judge(sqlite_hub, one, "s1", RIVAL, 3, beside=other_frame(4.0))
    judge(sqlite_hub, one, "s1", RIVAL, 2, score=1.5, beside=other_frame(4.0))
    judge(sqlite_hub, one, "s1", RIVAL, 4, beside=other_frame(0.9))
    judge(sqlite_hub, one, "s1", RIVAL, 1, score=None, beside=other_frame(4.0))
    judge(sqlite_hub, one, "s1", OTHER, 5)
    found = gather(sqlite_hub, config().policy, one, one.since)
    assert found.judged == Judged(parts=10, faults=1, not_passed=2)
    assert found.champion == Judged(parts=10, faults=0, not_passed=1)


def test_a_part_that_came_too_late_is_a_fault(sqlite_hub):
    """All its frames were judged, and the verdict came after the deadline."""
    set_up(sqlite_hub, *STATIONS)
    one = begin(sqlite_hub)
    move(sqlite_hub, one, ROLLOUT, POLICY, "go", ("s1",))
    one = now(sqlite_hub, one)
    late = part(next(NUMBERS), 0.5, bundle_id=RIVAL).model_copy(
        update={"station": "s1", "captured_at": one.since, "verdict": Verdict.FAULT}
    )
    body = json.dumps([late.model_dump(mode="json") | {"action": "none"}]).encode()
    store_events(sqlite_hub, Sender("s1", "line-1"), body)
    found = gather(sqlite_hub, config().policy, one, one.since)
    assert found.judged == Judged(parts=1, faults=1, not_passed=0)


def test_a_watch_may_take_more_parts_than_are_weighed(sqlite_hub, monkeypatch):
    monkeypatch.setattr(rolling, "LAST", 5)
    set_up(sqlite_hub, *STATIONS)
    one = begin(sqlite_hub)
    judge(sqlite_hub, one, "s2", CHAMPION, 8)
    move(sqlite_hub, one, ROLLOUT, POLICY, "go", STATIONS)
    one = now(sqlite_hub, one)
    judge(sqlite_hub, one, "s1", RIVAL, 20)
    found = gather(sqlite_hub, config().policy, one, one.since)
    assert (found.champion.parts, found.judged.parts) == (5, 20)
    assert look(sqlite_hub) == 1
    assert now(sqlite_hub, one).state is PROMOTED


def fall_silent(hub: Hub, station: str, hours: float) -> None:
    seen_at = hub.now() - timedelta(hours=hours)
    with hub.database.writing() as connection:
        this = update(stations).where(stations.c.station == station)
        connection.execute(this.values(seen_at=seen_at))


def test_a_silent_station_stops_no_rollout_and_follows_when_it_is_back(sqlite_hub):
    set_up(sqlite_hub, *STATIONS)
    one = begin(sqlite_hub)
    fall_silent(sqlite_hub, "s1", 3)
    fall_silent(sqlite_hub, "s2", 1)
    score_beside(sqlite_hub, 20)
    fall_silent(sqlite_hub, "s1", 3)  # what a challenger said is no event
    assert look(sqlite_hub) == 1
    assert (now(sqlite_hub, one).stations, look(sqlite_hub)) == (("s2",), 0)
    fall_silent(sqlite_hub, "s2", 3)
    assert look(sqlite_hub) == 1
    one = now(sqlite_hub, one)
    assert one.stations == ("s2", "s3")
    assert "passed over, for nothing was heard of it for 2 h: s2, s1" in one.words
    judge(sqlite_hub, one, "s3", RIVAL, 10)
    assert look(sqlite_hub) == 1
    (offered,) = offers(sqlite_hub, "line-1", "s1")
    assert (offered.bundle_id, offered.role) == (RIVAL, "champion")


def test_a_rollout_goes_on_when_the_station_it_came_to_is_retired(sqlite_hub):
    set_up(sqlite_hub, *STATIONS)
    one = begin(sqlite_hub)
    move(sqlite_hub, one, ROLLOUT, POLICY, "go", ("s1",))
    assert look(sqlite_hub) == 0
    retire(sqlite_hub, "s1", "eve")
    assert look(sqlite_hub) == 1
    assert now(sqlite_hub, one).stations == ("s1", "s2")


def test_before_a_rollout_nobody_reads_what_the_line_judged(sqlite_hub, monkeypatch):
    """It weighs nothing there, and is looked at twice a minute."""
    set_up(sqlite_hub, *STATIONS)
    one = begin(sqlite_hub)
    judge(sqlite_hub, one, "s2", CHAMPION, 3)
    monkeypatch.setattr(rolling, "_parts", None)
    assert gather(sqlite_hub, config().policy, one, one.since).champion.parts == 0


def test_one_that_waits_for_a_rollout_goes_on_when_that_was_taken_back(sqlite_hub):
    set_up(sqlite_hub, *STATIONS)
    add_bundles(sqlite_hub, OTHER)
    first = begin(sqlite_hub)
    move(sqlite_hub, first, ROLLOUT, POLICY, "go", ("s1",))
    second = begin(sqlite_hub, bundle_id=OTHER)
    assert (second.state, look(sqlite_hub)) == (HELD, 0)
    assert now(sqlite_hub, second).words == f"Held until the rollout of {RIVAL[:12]} has ended."
    move(sqlite_hub, now(sqlite_hub, first), WITHDRAWN, "eve", "no")
    assert look(sqlite_hub) == 1
    assert now(sqlite_hub, second).state is SHADOW


def test_two_hubs_that_look_at_once_move_it_once(sqlite_hub, monkeypatch):
    """The second has seen the same, and comes too late."""
    set_up(sqlite_hub, *STATIONS)
    begin(sqlite_hub)
    score_beside(sqlite_hub, 20)
    (number,) = rolling.open_numbers(sqlite_hub)
    seen = get_challenger(sqlite_hub, number)
    assert look(sqlite_hub) == 1
    monkeypatch.setattr(rolling, "get_challenger", lambda _hub, _number: seen)
    assert look(sqlite_hub) == 0
    assert now(sqlite_hub, seen).stations == ("s1",)


def unread(hub: Hub, one: Challenger) -> None:
    """Let a challenger's row hold what nobody can read."""
    with hub.database.writing() as connection:
        this = update(challengers).where(challengers.c.id == one.id)
        connection.execute(this.values(comparison="{"))


def test_one_that_cannot_be_looked_at_keeps_no_other_from_being_taken_back(sqlite_hub, caplog):
    """Whatever is wrong with it; it is told, and the harm at the others ends."""
    set_up(sqlite_hub, *STATIONS)
    add_bundles(sqlite_hub, OTHER)
    broken = begin(sqlite_hub, HELD, bundle_id=OTHER)
    with sqlite_hub.database.writing() as connection:
        of_another_line = update(challengers).where(challengers.c.id == broken.id)
        connection.execute(of_another_line.values(line="line-2"))
    one = begin(sqlite_hub)
    judge(sqlite_hub, one, "s2", CHAMPION, 300)
    move(sqlite_hub, one, ROLLOUT, "eve", "I dare", ("s1",))
    judge(sqlite_hub, now(sqlite_hub, one), "s1", RIVAL, **BAD["faults"])
    unread(sqlite_hub, broken)
    told = f"^challenger {broken.id}: ValidationError: .*Comparison"
    with pytest.raises(InspectionError, match=told):
        look(sqlite_hub)
    assert now(sqlite_hub, one).state is WITHDRAWN
    assert [one.levelname for one in caplog.records if "not looked at" in one.message] == ["ERROR"]


def test_one_that_a_person_ended_since_they_were_listed_is_left_alone(sqlite_hub, monkeypatch):
    set_up(sqlite_hub, *STATIONS)
    one = begin(sqlite_hub)
    move(sqlite_hub, one, WITHDRAWN, "eve", "no")
    monkeypatch.setattr(rolling, "open_numbers", lambda _hub: (one.id,))
    assert (look(sqlite_hub), now(sqlite_hub, one).words) == (0, "no")


def test_defects_it_lets_pass_take_it_back_unless_somebody_disputes_them(make_hub, sqlite_url):
    """However many good parts of the champion's it passes: the rest reads as a fit challenger."""
    hub = make_hub(sqlite_url, review={"pass_share": 0.0, "second_share": 1.0})
    set_up(hub, *STATIONS)
    one = begin(hub)
    judge(hub, one, "s1", CHAMPION, 32, score=4.0)
    with hub.database.reading() as connection:
        ids = connection.execute(select(events.c.event_id)).scalars().all()
    passed = [
        said(int(event_id.removeprefix("part-")), Verdict.PASS, Verdict.REJECT) for event_id in ids
    ]
    take_shadows(hub, Sender("s1", "line-1"), passed)
    ann, bob = (Me(account=name, role=Role.REVIEWER) for name in ("ann", "bob"))
    for place, event_id in enumerate(ids):
        decision = Decision.DEFECT if place < 10 else Decision.GOOD
        decide(hub, event_id, NewReview(decision=decision, revision=0), ann)
    shadow = now(hub, one).shadow
    assert (shadow.challenger_right, shadow.champion_right) == (22, 10)
    assert (shadow.defects_challenger_right, shadow.defects_champion_right) == (0, 10)
    for event_id in ids[:4]:
        doubt = NewReview(decision=Decision.GOOD, revision=0, second=True)
        decide(hub, event_id, doubt, bob)
    rules = config("shadow")
    assert (look(hub, rules), now(hub, one).shadow.defects_champion_right) == (0, 6)
    decide(hub, ids[0], NewReview(decision=Decision.DEFECT, revision=1), ann)
    assert look(hub, rules) == 1
    assert now(hub, one).words.startswith(
        "Taken back: reviewers found 7 defects that the champion holds and it lets pass, and 0 the "
    )


@pytest.mark.fast
@pytest.mark.parametrize(
    ("values", "wanted"),
    [([3.0], 3.0), ([2.0, 1.0], 2.0), (list(range(100)), 98), (list(range(200)), 197)],
)
def test_the_99th_percentile_is_one_of_the_values(values, wanted):
    assert percentile_99(values) == wanted


@pytest.mark.parametrize(("kind", "carried"), [(JobKind.GUARDS, 1), (JobKind.RETRAIN, 0)])
def test_new_guards_follow_the_bands_of_the_line_until_they_judge(
    sqlite_hub, tmp_path, monkeypatch, kind, carried
):
    """What is set while a bundle waits, or is rolled out, is set for its scores as well."""
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))
    for one in (CHAMPION, RIVAL):
        know_bundle(sqlite_hub, one)
    enrol(sqlite_hub, NewStation(station="s1", line="line-1"), "test")
    choose(sqlite_hub, "line-1", NewChoice(bundle_id=CHAMPION, comment="the first"), "ann")
    rules = make_config(tmp_path, policy={"allowed": "nothing"})
    begin(sqlite_hub, HELD)
    end_job(sqlite_hub, rules.products[0], kind, JobState.DONE, bundle_id=RIVAL)
    band = Band(review_above=1.0, reject_above=2.0)
    new = NewThresholds(bundle_id=CHAMPION, band=band, stations=("s1",), comment="tighter")
    apply_thresholds(sqlite_hub, "line-1", new, "eve")
    for _ in range(2):
        look(sqlite_hub, rules)
    rows = list_thresholds(sqlite_hub, "line-1")
    assert [one.band for one in rows if one.bundle_id == RIVAL] == [band] * carried
