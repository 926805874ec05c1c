"""What is due when: a table of cases, and what holds whatever the facts are."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspection.core.config import parse_config
from inspection.core.errors import ConfigError
from inspection.hub.wire.retraining import JobKind
from inspection.metrics.causes import Advice, Cause
from inspection.retraining.policy import Drifted, Facts, Overkill, Settled, Young, decide
from inspection.retraining.settings import DAYS, Allowed, Blackout, Policy, Triggers
from inspection.retraining.timetable import blackout_ends, cron_after

pytestmark = pytest.mark.fast

NOW = datetime(2026, 3, 11, 12, tzinfo=UTC)  # a Wednesday
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NEVER = Triggers(cron=None, reviews=None, drift=True, age_days=None)
YOUNG = Facts(champion_at=NOW - 2 * DAY, updatable=False, reviews=0)


def policy(allowed: Allowed = Allowed.PROMOTE, **changes: object) -> Policy:
    return Policy.model_validate({"allowed": allowed, "triggers": NEVER} | changes)


def by(**triggers: object) -> Policy:
    return policy(triggers=NEVER.model_copy(update=triggers))


def drifted(advice: Advice, goods: int = 30, cause: Cause = Cause.LIGHT) -> Facts:
    return replace(YOUNG, reviews=goods, drifts=(Drifted(cause, advice, NOW - DAY, goods),))


BY_LIGHT = Overkill(30, 100, 0.05, by_guard=True, by_light=True)
GUARDED = replace(YOUNG, guardable=True, overkill=(BY_LIGHT,))
DIMMED = Drifted(Cause.LIGHT, Advice.RETRAIN, NOW - DAY, 30, guarded=True)


def local(text: str, zone: str = "Europe/Berlin") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


DEFAULTS = Policy()
CASES = {
    "with all defaults nothing is due for a young bundle": (
        DEFAULTS,
        replace(YOUNG, reviews=12),
        None,
        "Nothing is due. 12 of 50 parts were reviewed since the last one. The next time by cron is "
        "Sun 2026-03-15 02:00 UTC. The last training is 2 of 90 days old.",
    ),
    "a broken promise makes a re-fit due": (
        policy(),
        replace(YOUNG, overkill=(Overkill(30, 100, 0.05),)),
        JobKind.REFIT,
        "Due is a re-fit of the thresholds. Of the last 100 parts 30 good ones did not pass; 5.00% "
        "are promised.",
    ),
    "a broken promise waits for reviews": (
        policy(),
        replace(YOUNG, overkill=(Overkill(30, 100, 0.05, missing="review 20 more"),)),
        None,
        "did not pass; 5.00% are promised. To fit the thresholds: review 20 more.",
    ),
    "good parts that a guard holds want new guards": (
        policy(),
        GUARDED,
        JobKind.GUARDS,
        "Due is a bundle with new guards. Of the last 100 parts 30 good ones did not pass",
    ),
    "good parts that a guard holds since the light moved want new guards": (
        policy(),
        replace(GUARDED, drifts=(Drifted(Cause.LIGHT, Advice.RETRAIN, NOW - DAY, 3),)),
        JobKind.GUARDS,
        "A guard held them",
    ),
    "good parts that a guard holds while new guards wait for a person": (
        policy(),
        replace(GUARDED, guards_wait=True),
        None,
        "A bundle whose guards know such parts waits for a person.",
    ),
    "an alarm of light alone, while new guards wait for a person, wants no training": (
        policy(),
        replace(GUARDED, guards_wait=True, drifts=(DIMMED,)),
        None,
        "The light has moved. A bundle whose guards know such parts waits for a person.",
    ),
    "an alarm of light of frames that no guard holds wants its training all the same": (
        policy(),
        replace(YOUNG, guards_wait=True, drifts=(DIMMED._replace(guarded=False),)),
        JobKind.RETRAIN,
        "30 good parts of after that are reviewed",
    ),
    "another alarm while new guards wait for a person": (
        policy(),
        replace(GUARDED, guards_wait=True, drifts=(DIMMED._replace(cause=Cause.TEXTURE),)),
        JobKind.RETRAIN,
        "The texture has moved since",
    ),
    "good parts that other limits than those of the light hold want a training": (
        policy(),
        replace(GUARDED, overkill=(BY_LIGHT._replace(by_light=False),)),
        JobKind.RETRAIN,
        "A guard held them: they look unlike those the bundle knows.",
    ),
    "good parts that a guard holds of another material want a training": (
        policy(),
        replace(GUARDED, drifts=(Drifted(Cause.TEXTURE, Advice.RETRAIN, NOW - DAY, 3),)),
        JobKind.RETRAIN,
        "A guard held them",
    ),
    "good parts that a guard holds and whose new guards failed want a training": (
        policy(),
        replace(GUARDED, in_vain=frozenset({JobKind.GUARDS})),
        JobKind.RETRAIN,
        "A guard held them",
    ),
    "good parts that new thresholds did not help want no guards": (
        policy(),
        replace(GUARDED, overkill=(Overkill(30, 100, 0.05, refitted=True),)),
        JobKind.RETRAIN,
        "fitted a short time ago, which did not help",
    ),
    "good parts that a guard holds want a training where guards cannot learn": (
        policy(),
        replace(YOUNG, overkill=(Overkill(30, 100, 0.05, by_guard=True),)),
        JobKind.RETRAIN,
        "Due is a training. Of the last 100 parts 30 good ones did not pass; 5.00% are promised. A "
        "guard held them: they look unlike those the bundle knows.",
    ),
    "too few that a guard holds wait": (
        policy(),
        replace(YOUNG, overkill=(Overkill(20, 100, 0.05, by_guard=True),)),
        None,
        "To learn them, a training needs 30: review more.",
    ),
    "a broken promise waits for a clean lens": (
        policy(),
        replace(
            drifted(Advice.CLEAN, cause=Cause.FOCUS),
            overkill=(Overkill(30, 100, 0.05), Overkill(40, 100, 0.05, by_guard=True)),
        ),
        None,
        "5.00% are promised. But first: Clean the lens",
    ),
    "a broken promise may trigger nothing": (
        by(overkill=False),
        replace(YOUNG, overkill=(Overkill(30, 100, 0.05),)),
        None,
        "Nothing is due.",
    ),
    "a product without a bundle gets its first": (
        DEFAULTS,
        Facts(champion_at=None, updatable=False, reviews=0),
        JobKind.RETRAIN,
        "No bundle of this name judges on the line yet",
    ),
    "a first bundle that waits for a person is not made again": (
        by(),
        Facts(None, updatable=False, reviews=0, settled=Settled(JobKind.RETRAIN, NOW - DAY)),
        None,
        "Nothing is due",
    ),
    "reviews enough": (
        by(reviews=50),
        replace(YOUNG, reviews=50),
        JobKind.RETRAIN,
        "50 parts were reviewed since the last one.",
    ),
    "a review too few": (by(reviews=50), replace(YOUNG, reviews=49), None, "49 of 50 parts"),
    "few new pictures are taken into the bank": (
        by(reviews=50),
        replace(YOUNG, reviews=50, updatable=True),
        JobKind.UPDATE,
        "Due is an update of the bank.",
    ),
    "a time by cron that came while the hub was down": (
        by(cron="0 2 * * tue"),
        replace(YOUNG, reviews=1),
        JobKind.RETRAIN,
        "came on Tue 2026-03-10 02:00 UTC",
    ),
    "a time by cron with nothing new to learn": (
        by(cron="0 2 * * tue"),
        YOUNG,
        None,
        "But nothing is new since: the same would come out",
    ),
    "a time by cron after a picture was forgotten": (
        by(cron="0 2 * * tue"),
        replace(YOUNG, changed="Since the last one 1 pictures were forgotten."),
        JobKind.RETRAIN,
        "came on Tue 2026-03-10 02:00 UTC. Since the last one 1 pictures were forgotten.",
    ),
    "an old bundle after a review was taken back": (
        by(age_days=2),
        replace(YOUNG, changed="Since the last one 1 decisions were taken back."),
        JobKind.RETRAIN,
        "more than 2 days old. Since the last one 1 decisions were taken back.",
    ),
    "what failed and would fail again": (
        by(reviews=50),
        replace(YOUNG, reviews=50, in_vain=frozenset({JobKind.RETRAIN})),
        None,
        "Something is due, but not now. 50 parts were reviewed since the last one. It failed "
        "before and would again, or was cancelled, with nothing new to learn: mend what its log "
        "says, and start it by hand.",
    ),
    "an update that failed is a training": (
        by(reviews=50),
        replace(YOUNG, reviews=50, updatable=True, in_vain=frozenset({JobKind.UPDATE})),
        JobKind.RETRAIN,
        "Due is a training.",
    ),
    "a training where a re-fit failed": (
        by(reviews=20),
        replace(drifted(Advice.REFIT), in_vain=frozenset({JobKind.REFIT})),
        JobKind.RETRAIN,
        "30 parts were reviewed",
    ),
    "a time by cron that a training has answered": (
        by(cron="0 2 * * tue"),
        replace(YOUNG, reviews=1, settled=Settled(JobKind.RETRAIN, NOW - DAY)),
        None,
        "The next time by cron is Tue 2026-03-17 02:00 UTC",
    ),
    "an old bundle": (
        by(age_days=2),
        replace(YOUNG, reviews=1),
        JobKind.RETRAIN,
        "more than 2 days old",
    ),
    "an old bundle whose successor was refused yesterday": (
        by(age_days=2),
        replace(YOUNG, reviews=1, settled=Settled(JobKind.RETRAIN, NOW - DAY)),
        None,
        "1 of 2 days old",
    ),
    "light that moved, and parts to fit thresholds from": (
        policy(),
        drifted(Advice.REFIT),
        JobKind.REFIT,
        "The light has moved since Tue 2026-03-10 12:00 UTC, and 30 good parts of after that",
    ),
    "light that moved, and parts that say too little": (
        policy(),
        replace(
            YOUNG, drifts=(Drifted(Cause.LIGHT, Advice.REFIT, NOW - DAY, 30, "review 9 more"),)
        ),
        None,
        "The light has moved since Tue 2026-03-10 12:00 UTC; review 9 more.",
    ),
    "light that moved, and fewer parts than a training needs": (
        policy(),
        drifted(Advice.REFIT, 29),
        JobKind.REFIT,
        "29 good parts of after that are reviewed",
    ),
    "new material, and a part too few": (
        policy(),
        drifted(Advice.RETRAIN, 29, cause=Cause.TEXTURE),
        None,
        "29 of 30 good parts of after that are reviewed that a training needs",
    ),
    "new material, and another number of parts to learn from": (
        by(goods=10),
        drifted(Advice.RETRAIN, 10, cause=Cause.TEXTURE),
        JobKind.RETRAIN,
        "10 good parts",
    ),
    "new material of which no threshold can be fitted yet": (
        policy(),
        replace(drifted(Advice.RETRAIN, cause=Cause.TEXTURE), unpromised="30 of 59: review more."),
        None,
        "Nothing is due. 30 of 59: review more.",
    ),
    "new material of which twice as many parts are reviewed as were counted": (
        policy(),
        replace(YOUNG, young=Young(NOW - DAY, 60, 120)),
        JobKind.RETRAIN,
        "120 good parts are reviewed since the material changed, Tue 2026-03-10 12:00 UTC; the "
        "last training counted 60.",
    ),
    "new material, and a part fewer than twice as many": (
        policy(),
        replace(YOUNG, young=Young(NOW - DAY, 60, 119)),
        None,
        "119 of 120 good parts are reviewed since the material changed",
    ),
    "new material, and fewer more than a training needs": (
        by(goods=100),
        replace(YOUNG, young=Young(NOW - DAY, 60, 159)),
        None,
        "159 of 160 good parts",
    ),
    "much of a new material that the bank takes in": (
        policy(),
        replace(YOUNG, updatable=True, young=Young(NOW - DAY, 60, 120)),
        JobKind.UPDATE,
        "120 good parts",
    ),
    "much of a new material behind a lens to clean": (
        policy(),
        replace(drifted(Advice.CLEAN, cause=Cause.FOCUS), young=Young(NOW - DAY, 60, 120)),
        None,
        "But first: ",
    ),
    "many reviews behind a lens to clean": (
        by(reviews=20),
        drifted(Advice.CLEAN, cause=Cause.FOCUS),
        None,
        "30 parts were reviewed since the last one. But first: Clean the lens",
    ),
    "a new material behind a lens to clean": (
        policy(),
        replace(
            drifted(Advice.CLEAN, cause=Cause.FOCUS),
            drifts=(
                Drifted(Cause.FOCUS, Advice.CLEAN, NOW - DAY, 30),
                Drifted(Cause.TEXTURE, Advice.RETRAIN, NOW - DAY, 30),
            ),
        ),
        None,
        "30 good parts of after that are reviewed. But first: Clean the lens",
    ),
    "an age behind a lens to clean": (
        by(age_days=1),
        drifted(Advice.CLEAN, cause=Cause.FOCUS),
        None,
        "But first: Clean the lens",
    ),
    "much of a new material while a challenger is tried": (
        policy(),
        replace(YOUNG, young=Young(NOW - DAY, 60, 120), challenged="A bundle is rolled out."),
        None,
        "Nothing is trained meanwhile.",
    ),
    "much of a new material where drift triggers nothing": (
        by(drift=False),
        replace(YOUNG, young=Young(NOW - DAY, 60, 120)),
        None,
        "Nothing is due.",
    ),
    "new material": (
        policy(),
        drifted(Advice.RETRAIN, cause=Cause.TEXTURE),
        JobKind.RETRAIN,
        "The texture has moved",
    ),
    "new material that the bank takes in": (
        policy(),
        replace(drifted(Advice.RETRAIN, cause=Cause.TEXTURE), updatable=True),
        JobKind.UPDATE,
        "The texture has moved",
    ),
    "new material that an update did not help against": (
        policy(),
        replace(
            drifted(Advice.RETRAIN, cause=Cause.TEXTURE),
            updatable=True,
            settled=Settled(JobKind.UPDATE, NOW - HOUR),
        ),
        JobKind.RETRAIN,
        "The texture has moved",
    ),
    "after an update that was refused everything is trained": (
        policy(),
        replace(
            YOUNG,
            updatable=True,
            overkill=(Overkill(30, 100, 0.05, by_guard=True),),
            settled=Settled(JobKind.UPDATE, NOW - HOUR, refused=True),
        ),
        JobKind.RETRAIN,
        "A guard held them",
    ),
    "a re-fit that did not help is followed by a training": (
        policy(),
        replace(YOUNG, overkill=(Overkill(30, 100, 0.05, refitted=True),)),
        JobKind.RETRAIN,
        "The thresholds were fitted a short time ago, which did not help.",
    ),
    "thresholds that a person set are a person's": (
        policy(),
        replace(YOUNG, overkill=(Overkill(30, 100, 0.05, by_hand=True),)),
        None,
        "A person set the thresholds; set others, or re-fit them.",
    ),
    "a dirty lens is cleaned, not learnt": (
        policy(),
        drifted(Advice.CLEAN, cause=Cause.FOCUS),
        None,
        "The focus has moved. Clean the lens",
    ),
    "drift that triggers nothing": (
        by(drift=False),
        drifted(Advice.REFIT),
        None,
        "An alarm of light stands, but drift triggers nothing.",
    ),
    "thresholds come first, the training after them": (
        by(reviews=20),
        drifted(Advice.REFIT),
        JobKind.REFIT,
        "Due is a re-fit of the thresholds.",
    ),
    "a training after thresholds were fitted a while ago": (
        by(reviews=20),
        replace(drifted(Advice.REFIT), refit_ended_at=NOW - HOUR),
        JobKind.RETRAIN,
        "30 parts were reviewed",
    ),
    "a job that runs": (
        by(reviews=1),
        replace(YOUNG, reviews=9, underway="A job (update) is running."),
        None,
        "A job (update) is running. Nothing else is begun meanwhile.",
    ),
    "a challenger on the line": (
        by(reviews=1),
        replace(YOUNG, reviews=9, challenged="Bundle b scores in the shadow."),
        None,
        "Bundle b scores in the shadow. Nothing is trained meanwhile.",
    ),
    "thresholds while a challenger is on the line": (
        policy(),
        replace(drifted(Advice.REFIT), challenged="Bundle b scores in the shadow."),
        JobKind.REFIT,
        "The light has moved",
    ),
    "a training just ended": (
        by(reviews=1),
        replace(YOUNG, reviews=9, training_ended_at=NOW - 19 * HOUR),
        None,
        "Only 20 hours after the last may it begin: Wed 2026-03-11 13:00 UTC.",
    ),
    "a training ended long enough ago": (
        by(reviews=1),
        replace(YOUNG, reviews=9, training_ended_at=NOW - 20 * HOUR),
        JobKind.RETRAIN,
        "9 parts were reviewed",
    ),
    "a blackout": (
        policy(
            triggers=Triggers(reviews=1, cron=None, age_days=None),
            blackouts=(Blackout(begin=time(6), end=time(22)),),
        ),
        replace(YOUNG, reviews=9),
        None,
        "A blackout lasts until Wed 2026-03-11 22:00 UTC; nothing begins before.",
    ),
}


@pytest.mark.parametrize(("rules", "facts", "kind", "words"), CASES.values(), ids=CASES)
def test_the_policy_finds_due_what_is(rules, facts, kind, words):
    decision = decide(rules, facts, NOW)
    assert decision.kind is kind
    assert decision.allowed is (kind is not None)
    assert words in decision.words


@pytest.mark.parametrize(
    ("allowed", "facts", "kind", "may"),
    [
        (Allowed.NOTHING, drifted(Advice.REFIT), JobKind.REFIT, False),
        (Allowed.REFIT, drifted(Advice.REFIT), JobKind.REFIT, True),
        (Allowed.REFIT, drifted(Advice.RETRAIN), JobKind.RETRAIN, False),
        (Allowed.RETRAIN, drifted(Advice.RETRAIN), JobKind.RETRAIN, True),
    ],
)
def test_what_is_due_but_not_allowed_is_left_to_a_person(allowed, facts, kind, may):
    decision = decide(policy(allowed), facts, NOW)
    assert (decision.kind, decision.allowed) == (kind, may)
    assert ("a person may start it" in decision.words) is not may


BLACKOUTS = {
    "before it": ("mon", "06:00", "22:00", "2026-03-09T05:59", None),
    "as it begins": ("mon", "06:00", "22:00", "2026-03-09T06:00", "2026-03-09T22:00"),
    "as it ends": ("mon", "06:00", "22:00", "2026-03-09T22:00", None),
    "another day": ("mon", "06:00", "22:00", "2026-03-10T12:00", None),
    "over midnight, before": ("mon", "22:00", "06:00", "2026-03-09T23:00", "2026-03-10T06:00"),
    "over midnight, after": ("mon", "22:00", "06:00", "2026-03-10T05:00", "2026-03-10T06:00"),
    "over midnight, the day before": ("mon", "22:00", "06:00", "2026-03-09T05:00", None),
    "a whole day": ("mon", "06:00", "06:00", "2026-03-10T05:59", "2026-03-10T06:00"),
    # clocks go from 02:00 to 03:00 on 29 March, and from 03:00 to 02:00 on 25 October
    "an hour that is skipped": ("sun", "02:15", "02:45", "2026-03-29T03:30", "2026-03-29T03:45"),
    "over the skipped hour": ("sat", "22:00", "04:00", "2026-03-29T03:30", "2026-03-29T04:00"),
    "before the repeated hour": ("sun", "02:30", "04:00", "2026-10-25T02:29", None),
}


@pytest.mark.parametrize(("day", "begin", "end", "now", "ends"), BLACKOUTS.values(), ids=BLACKOUTS)
def test_a_blackout_follows_the_clock_on_the_wall(day, begin, end, now, ends):
    window = Blackout(days=(day,), begin=time.fromisoformat(begin), end=time.fromisoformat(end))
    rules = policy(blackouts=(window,), timezone="Europe/Berlin")
    assert blackout_ends(rules, local(now)) == (None if ends is None else local(ends))


def test_an_hour_that_comes_twice_is_black_both_times():
    rules = policy(
        blackouts=(Blackout(days=("sun",), begin=time(2), end=time(2, 30)),),
        timezone="Europe/Berlin",
    )
    end = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)  # 02:30 for the second time
    for fold in (0, 1):
        assert blackout_ends(rules, local("2026-10-25T02:10").replace(fold=fold)) == end


def test_a_blackout_needs_no_quotes():
    read = parse_config("begin: 10:00\nend: 22:30", Blackout, "retraining.yaml")
    assert (read.begin, read.end) == (time(10), time(22, 30))


@pytest.mark.parametrize("begin", ["600", "'06:00+02:00'", "6.5", "'noon'"])
def test_a_blackout_is_a_time_on_the_wall(begin):
    with pytest.raises(ConfigError, match="begin"):
        parse_config(f"begin: {begin}\nend: 22:30", Blackout, "retraining.yaml")


def test_blackouts_that_follow_one_another_are_one():
    night, shift = (
        Blackout(begin=time(22), end=time(6)),
        Blackout(days=("mon",), begin=time(6), end=time(14)),
    )
    rules = policy(blackouts=(night, shift))
    assert blackout_ends(rules, datetime(2026, 3, 8, 23, tzinfo=UTC)) == datetime(
        2026, 3, 9, 14, tzinfo=UTC
    )


def test_blackouts_without_a_gap_never_end():
    rules = policy(blackouts=(Blackout(begin=time(0), end=time(0)),))
    ends = blackout_ends(rules, NOW)
    assert ends is not None
    assert blackout_ends(rules, ends) is not None


def test_cron_strikes_by_the_clock_on_the_wall():
    rules = policy(triggers=Triggers(cron="0 2 * * sun"), timezone="America/New_York")
    assert cron_after(rules, NOW) == datetime(2026, 3, 15, 6, tzinfo=UTC)  # summer time by then
    assert cron_after(rules, datetime(2026, 3, 15, 6, tzinfo=UTC)) == datetime(
        2026, 3, 22, 6, tzinfo=UTC
    )


moments = st.datetimes(
    datetime(2026, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    datetime(2027, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
times = st.times().map(lambda at: at.replace(second=0, microsecond=0))
blackouts = st.lists(
    st.builds(
        Blackout,
        days=st.lists(st.sampled_from(DAYS), min_size=1, unique=True).map(tuple),
        begin=times,
        end=times,
    ),
    max_size=3,
).map(tuple)
maybe = st.none() | moments
policies = st.builds(
    Policy,
    allowed=st.sampled_from(Allowed),
    triggers=st.builds(
        Triggers,
        cron=st.sampled_from([None, "0 2 * * sun", "*/30 * * * *"]),
        reviews=st.none() | st.integers(1, 60),
        drift=st.booleans(),
        age_days=st.none() | st.integers(1, 100),
    ),
    pause_h=st.floats(0, 100),
    blackouts=blackouts,
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
)
facts_of_any_kind = st.builds(
    Facts,
    champion_at=maybe,
    updatable=st.booleans(),
    guardable=st.booleans(),
    reviews=st.integers(0, 60),
    drifts=st.lists(
        st.builds(
            Drifted, st.sampled_from(Cause), st.sampled_from(Advice), moments, st.integers(0, 60)
        ),
        max_size=3,
    ).map(tuple),
    settled=st.none()
    | st.builds(Settled, st.sampled_from([JobKind.UPDATE, JobKind.RETRAIN]), moments),
    training_ended_at=maybe,
    refit_ended_at=maybe,
    changed=st.sampled_from(["", "Since the last one 1 pictures were forgotten."]),
    in_vain=st.frozensets(st.sampled_from(JobKind)),
    underway=st.sampled_from(["", "A job is running."]),
    challenged=st.sampled_from(["", "A bundle is rolled out."]),
    young=st.none() | st.builds(Young, moments, st.integers(0, 60), st.integers(0, 200)),
)


@given(policies, facts_of_any_kind, moments)
def test_what_may_happen_may_still_when_more_is_allowed(rules, facts, now):
    order = list(Allowed)
    said = [
        decide(rules.model_copy(update={"allowed": allowed}), facts, now).allowed
        for allowed in order
    ]
    assert said == sorted(said)
    assert not said[0]


@given(policies, facts_of_any_kind, moments)
def test_nothing_begins_in_a_blackout_or_a_pause_or_beside_another_job_or_in_vain(
    rules, facts, now
):
    kind = decide(rules, facts, now).kind
    if kind is None:
        return
    ended = facts.refit_ended_at if kind is JobKind.REFIT else facts.training_ended_at
    assert blackout_ends(rules, now) is None
    assert ended is None or now - ended >= timedelta(hours=rules.pause_h)
    assert not facts.underway
    assert kind not in facts.in_vain
    assert kind is JobKind.REFIT or not facts.challenged or facts.champion_at is None


@given(policies, facts_of_any_kind, moments)
def test_the_same_question_has_the_same_answer_in_sentences(rules, facts, now):
    decision = decide(rules, facts, now)
    assert decide(rules, facts, now) == decision
    assert decision.words[0].isupper()
    assert decision.words.endswith((".", "it"))


@given(policies, moments)
def test_a_blackout_ends_later_and_outside_any_or_never(rules, now):
    ends = blackout_ends(rules, now)
    if ends is not None:
        assert ends > now
        assert blackout_ends(rules, ends) is None or ends - now >= 7 * DAY
