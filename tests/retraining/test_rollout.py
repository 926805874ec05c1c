"""How a challenger goes on: what lets it, what holds it, what takes it back."""

from dataclasses import replace

import numpy as np
import pytest

from inspection.hub.wire.retraining import ChallengerState, ShadowReport
from inspection.retraining.rollout import (
    FAVOUR,
    LEAST_CHAMPION,
    Judged,
    Stage,
    Standing,
    evidence,
    exceeds,
    next_stage,
)
from inspection.retraining.settings import Allowed, Rollout

pytestmark = pytest.mark.fast

HELD, SHADOW, ROLLOUT = ChallengerState.HELD, ChallengerState.SHADOW, ChallengerState.ROLLOUT
PROMOTED, WITHDRAWN = ChallengerState.PROMOTED, ChallengerState.WITHDRAWN
RULES = Rollout()
NONE_KEPT = {"not_passed": 0, "champion_not_passed": 0}
STATIONS = tuple(f"s{number}" for number in range(1, 9))


def scored(**changes) -> ShadowReport:
    """Give a shadow that speaks for a rollout."""
    values = {
        "parts": 1000,
        "disagreements": 10,
        "reviewed": 0,
        "challenger_right": 0,
        "champion_right": 0,
        "faults": 0,
        "not_passed": 40,
        "champion_not_passed": 40,
        "latency_p99_ms": 10.0,
        "since": None,
    }
    right = changes.get("challenger_right", 0) + changes.get("champion_right", 0)
    return ShadowReport.model_validate(values | {"reviewed": right} | changes)


def standing(state: ChallengerState, **changes) -> Standing:
    """Give a challenger against which nothing speaks, of a line of eight stations."""
    usual = Standing(
        state=state,
        hours=48.0,
        not_worse=True,
        shadow=scored(),
        judged=Judged(parts=0, faults=0, not_passed=0),
        champion=Judged(parts=5000, faults=5, not_passed=100),
        slow_ms=60.0,
        deadline_ms=100,
        reached=STATIONS[:2] if state is ROLLOUT else (),
        waiting=STATIONS[2:] if state is ROLLOUT else STATIONS,
    )
    return replace(usual, **changes)


def decide(one: Standing, allowed: Allowed = Allowed.PROMOTE, rules: Rollout = RULES) -> Stage:
    return next_stage(rules, allowed, one)


@pytest.mark.parametrize(
    ("allowed", "changes", "state", "words"),
    [
        (Allowed.RETRAIN, {}, HELD, "a person lets it score, for the policy allows 'retrain' only"),
        (Allowed.SHADOW, {"not_worse": False}, HELD, "does not say that it is no worse"),
        (Allowed.SHADOW, {"blackout": True}, HELD, "until the blackout is over"),
        (Allowed.PROMOTE, {"replaced": True}, HELD, "another bundle judges by now"),
        (Allowed.SHADOW, {}, SHADOW, "The policy lets it score"),
        (Allowed.PROMOTE, {}, SHADOW, "The policy lets it score"),
    ],
)
def test_what_is_held_waits_for_a_person_unless_the_policy_goes_further(
    allowed, changes, state, words
):
    found = decide(standing(HELD, **changes), allowed)
    assert (found.state, words in found.words, found.reached) == (state, True, ())


def test_a_quarter_of_the_stations_gets_it_first_and_one_at_least():
    found = decide(standing(SHADOW))
    assert (found.state, found.reached) == (ROLLOUT, ("s1", "s2"))
    assert found.words == (
        "Rolled out first to s1, s2: 1,000 parts scored, 0 FAULT, 10 disagreements, 0 of them "
        "reviewed, it was right on 0."
    )
    assert decide(standing(SHADOW, waiting=("s1", "s2", "s3"))).reached == ("s1",)
    assert decide(standing(SHADOW), rules=Rollout(first_share=1.0)).reached == STATIONS


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shadow": scored(parts=499, disagreements=0)}, "500 parts are wanted"),
        ({"hours": 23.9}, "23.9 of 24 hours are over"),
        ({"shadow": scored(faults=11)}, "at most 1.0% FAULT are wanted"),
        ({"shadow": scored(latency_p99_ms=101.0)}, "more than the deadline of 100 ms"),
        ({"shadow": scored(disagreements=40)}, "unless reviewers find it right"),
        ({"blackout": True}, "when the blackout is over"),
        ({"unmended": "Clean the lens."}, "when what moved is mended, or"),
        ({"shadow": scored(let_pass=4)}, "of 4 parts that the champion holds and it would pass, 4"),
        ({"shadow": scored(let_pass=40, let_pass_reviewed=9)}, "10 have to be reviewed (so far 9)"),
        ({"waiting": ()}, "no station of the line judges by its name"),
        ({"not_worse": False}, "what is not shown to be no worse"),
    ],
    ids=[
        *("parts", "hours", "faults", "latency", "disagreements", "blackout", "unmended"),
        *("let pass", "let pass, many", "nowhere", "unknown"),
    ],
)
def test_it_stays_in_the_shadow_until_all_is_known(changes, words):
    found = decide(standing(SHADOW, **changes))
    assert (found.state, found.reached, words in found.words) == (SHADOW, (), True), found.words


def test_everything_that_is_missing_is_said_at_once():
    few = scored(parts=10, disagreements=0, **NONE_KEPT)
    words = decide(standing(SHADOW, hours=1.0, shadow=few)).words
    assert "500 parts are wanted; 1.0 of 24 hours are over" in words


def test_a_latency_nobody_knows_a_deadline_for_holds_nothing():
    slow = standing(SHADOW, shadow=scored(latency_p99_ms=1e4), deadline_ms=None)
    assert decide(slow).state is ROLLOUT


@pytest.mark.parametrize("allowed", [one for one in Allowed if one is not Allowed.PROMOTE])
def test_only_a_policy_that_may_promote_begins_a_rollout(allowed):
    found = decide(standing(SHADOW), allowed)
    assert (found.state, found.reached) == (SHADOW, ())
    assert "fit for a rollout, which a person begins" in found.words


@pytest.mark.parametrize(
    ("right", "wrong", "state"),
    [(7, 0, ROLLOUT), (16, 4, ROLLOUT), (6, 0, SHADOW), (12, 8, SHADOW), (5, 5, SHADOW)],
)
def test_many_disagreements_are_no_harm_where_reviewers_find_it_right(right, wrong, state):
    report = scored(disagreements=200, challenger_right=right, champion_right=wrong)
    assert decide(standing(SHADOW, shadow=report)).state is state


@pytest.mark.parametrize("state", [SHADOW, ROLLOUT])
def test_where_reviewers_find_the_champion_right_it_goes(state):
    """However few disagreements there are, and whatever the policy allows."""
    report = scored(challenger_right=1, champion_right=11)
    found = decide(standing(state, shadow=report), Allowed.NOTHING)
    assert found == (
        WITHDRAWN,
        "Taken back: reviewers found the champion right on 11 of the 12 reviewed disagreements.",
        (),
    )


def on_defects(challenger: int, champion: int, goods: int, **changes) -> ShadowReport:
    """Give a shadow that speaks for a rollout, but for defects; it is right on all good parts."""
    values = {"champion_right": champion, "challenger_right": challenger + goods}
    values |= {"disagreements": challenger + champion + goods}
    found = {"defects_challenger_right": challenger, "defects_champion_right": champion}
    return scored(**values | found | changes)


@pytest.mark.parametrize("state", [SHADOW, ROLLOUT])
@pytest.mark.parametrize("goods", [12, 30, 500])
def test_no_good_parts_make_up_for_defects_it_lets_pass(state, goods):
    """The rest speaks for a rollout: half the reviewed disagreements, or far more, are its own."""
    found = decide(standing(state, shadow=on_defects(0, 10, goods)), Allowed.NOTHING)
    assert found == (
        WITHDRAWN,
        "Taken back: reviewers found 10 defects that the champion holds and it lets pass, and 0 "
        "the other way round.",
        (),
    )


@pytest.mark.parametrize(
    ("challenger", "champion", "state"),
    [(0, 6, ROLLOUT), (0, 7, WITHDRAWN), (5, 5, ROLLOUT), (7, 0, ROLLOUT), (4, 16, WITHDRAWN)],
)
def test_defects_are_weighed_by_the_same_test_as_all_parts(challenger, champion, state):
    found = decide(standing(SHADOW, shadow=on_defects(challenger, champion, 20)))
    assert found.state is state
    told = f"on {challenger} of the {challenger + champion} defects among them"
    assert (told in found.words) is (state is ROLLOUT)


def test_what_lets_defects_pass_counts_for_no_overkill():
    report = on_defects(0, 10, 150, not_passed=200)
    words = decide(standing(SHADOW, shadow=report)).words
    assert "lets pass" in words
    assert "would not pass 200 of 1,000 parts" in words


def test_overkill_in_the_shadow_takes_it_back_unless_reviewers_want_it():
    much = {"disagreements": 160, "not_passed": 200}
    found = decide(standing(SHADOW, shadow=scored(**much)))
    assert found.state is WITHDRAWN
    assert "would not pass 200 of 1,000 parts, the champion 40" in found.words
    wanted = scored(**much, challenger_right=20)
    assert decide(standing(SHADOW, shadow=wanted)).state is ROLLOUT


def test_faults_in_the_shadow_take_it_back_but_one_chance_fault_does_not():
    once, often = (scored(parts=20, faults=count, **NONE_KEPT) for count in (1, 4))
    assert decide(standing(SHADOW, shadow=once)).state is SHADOW
    found = decide(standing(SHADOW, shadow=often))
    assert found == (WITHDRAWN, "Taken back: 4 of 20 parts were FAULT in the shadow.", ())
    assert decide(standing(ROLLOUT, shadow=often)).state is WITHDRAWN  # at the other stations


def judged(parts: int, **changes: int) -> Judged:
    return Judged(**({"parts": parts, "faults": 0, "not_passed": parts // 50} | changes))


@pytest.mark.parametrize(
    ("parts", "last", "state", "reached"),
    [
        (0, False, ROLLOUT, ()),
        (199, False, ROLLOUT, ()),
        (200, False, ROLLOUT, STATIONS[2:]),
        (1999, True, ROLLOUT, ()),
        (2000, True, PROMOTED, ()),
    ],
)
def test_a_rollout_goes_on_by_the_parts_it_judged(parts, last, state, reached):
    """Also where only a person may begin one: whoever began it wanted it to end."""
    places = {"reached": STATIONS, "waiting": ()} if last else {}
    one = standing(ROLLOUT, judged=judged(parts), **places)
    found = decide(one, Allowed.NOTHING)
    assert (found.state, found.reached) == (state, reached)
    assert f"{parts:,} of {2000 if last else 200:,} parts judged" in found.words


@pytest.mark.parametrize("last", [False, True])
def test_a_blackout_stops_the_next_stage(last):
    places = {"reached": STATIONS, "waiting": ()} if last else {}
    one = standing(ROLLOUT, judged=judged(3000), blackout=True, **places)
    found = decide(one)
    assert (found.state, found.reached) == (ROLLOUT, ())
    assert "until the blackout is over" in found.words


def test_a_dirty_lens_stops_the_next_stage_but_not_the_end_of_the_last():
    one = standing(ROLLOUT, judged=judged(3000), unmended="Clean the lens.")
    found = decide(one)
    assert (found.state, found.reached) == (ROLLOUT, ())
    assert "until what moved is mended, or its alarm dismissed (Clean the lens)" in found.words
    assert decide(replace(one, reached=STATIONS, waiting=())).state is PROMOTED


def test_what_it_would_let_pass_is_reviewed_before_it_comes_to_the_line():
    """Defects that it alone lets pass are few among all parts, and no share of them shows it."""
    rated = scored(let_pass=40, let_pass_reviewed=10, challenger_right=10)
    assert decide(standing(SHADOW, shadow=rated)).state is ROLLOUT


BAD = {
    "faults": (judged(50, faults=5), "5 of 50 parts were FAULT; the champion's 5 of 5,000"),
    "latency": (judged(100, slow=8), "8 of 100 parts took longer than 60 ms, 1.5 times"),
    "overkill": (judged(100, not_passed=20), "20 of 100 parts did not pass, the champion's 100"),
}


@pytest.mark.parametrize(("found", "words"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("blackout", [False, True])
def test_what_goes_wrong_on_the_line_takes_it_back_at_any_time(found, words, blackout):
    one = standing(ROLLOUT, judged=found, blackout=blackout)
    stage = decide(one, Allowed.NOTHING)
    assert (stage.state, words in stage.words) == (WITHDRAWN, True), stage.words


@pytest.mark.parametrize(
    ("found", "rules"),
    [
        (BAD["faults"][0], Rollout(fault_share=0.2)),
        (BAD["overkill"][0], Rollout(overkill_factor=12.0)),
    ],
    ids=["faults", "overkill"],
)
def test_what_the_rules_bear_takes_nothing_back(found, rules):
    one = standing(ROLLOUT, judged=found)
    assert decide(one, rules=rules).state is ROLLOUT
    assert decide(one).state is WITHDRAWN


@pytest.mark.parametrize(
    ("much", "rules"),
    [
        ({"parts": 20, "faults": 4, **NONE_KEPT}, Rollout(fault_share=0.3)),
        ({"disagreements": 160, "not_passed": 200}, Rollout(overkill_factor=6.0, disagreements=1)),
    ],
    ids=["faults", "overkill"],
)
def test_what_the_rules_bear_in_the_shadow_takes_nothing_back(much, rules):
    one = standing(SHADOW, shadow=scored(**much))
    assert decide(one, rules=rules).state is not WITHDRAWN
    assert decide(one).state is WITHDRAWN


FEW = {
    "first part FAULT": judged(1, faults=1, not_passed=0),
    "first part REJECT": judged(1, not_passed=1),
    "three REJECT of ten": judged(10, not_passed=2),
    "a slow first part": judged(1, slow=1),
    "two slow of a hundred": judged(100, slow=2),
    "the champion's own share": judged(199, not_passed=7),
}


@pytest.mark.parametrize("found", FEW.values(), ids=FEW)
def test_a_few_parts_are_no_evidence(found):
    assert decide(standing(ROLLOUT, judged=found)).state is ROLLOUT


@pytest.mark.parametrize(
    ("mine", "champions", "state"),
    [(49, 5000, ROLLOUT), (50, 299, ROLLOUT), (50, 300, WITHDRAWN)],
    ids=["few of its own", "few of the champion's", "enough of both"],
)
@pytest.mark.parametrize("bad", ["slow", "not_passed"])
def test_latency_and_overkill_speak_on_enough_parts_of_both_only(mine, champions, state, bad):
    """Four slow parts in a row, against a 99th percentile of ten, are no evidence."""
    one = standing(
        ROLLOUT,
        judged=judged(mine, **{bad: mine}),
        champion=Judged(parts=champions, faults=0, not_passed=0),
    )
    found = decide(one)
    assert found.state is state, found.words
    assert ("are not weighed" in found.words) is (champions < LEAST_CHAMPION)


def test_faults_speak_from_the_first_parts_on():
    nobody = Judged(parts=10, faults=0, not_passed=0)
    assert decide(standing(ROLLOUT, judged=judged(4, faults=4), champion=nobody)).state is WITHDRAWN


def test_no_stage_ends_before_its_latency_and_overkill_can_speak():
    """Where a stage is shorter than the least number, all of its parts are enough."""
    rules = Rollout(stage_parts=10)
    assert decide(standing(ROLLOUT, judged=judged(9, slow=9)), rules=rules).state is ROLLOUT
    assert decide(standing(ROLLOUT, judged=judged(10, slow=10)), rules=rules).state is WITHDRAWN


def test_a_silent_station_is_passed_over_and_named():
    """It would hold up its line for ever; the others go first, and it follows with them all."""
    found = decide(standing(SHADOW, silent=frozenset({"s1", "s3"})))
    assert (found.state, found.reached) == (ROLLOUT, ("s2",))
    assert found.words.endswith(
        "; passed over, for nothing was heard of it for 2 h: s1, s3 (it follows when it is back)."
    )
    stuck = standing(ROLLOUT, judged=judged(3), silent=frozenset({"s1", "s2", "s4"}))
    found = decide(stuck)
    assert (found.state, found.reached) == (ROLLOUT, ("s3",))
    assert found.words.startswith("Rolled out to s3, too: 3 of 200 parts judged on 2 stations")
    one_speaks = replace(stuck, silent=frozenset({"s1", "s4"}))
    assert decide(one_speaks).reached == ()
    assert decide(replace(one_speaks, judged=judged(200))).reached == STATIONS[2:]
    assert decide(replace(stuck, blackout=True)).reached == ()


def test_where_no_station_speaks_nothing_is_rolled_out():
    found = decide(standing(SHADOW, silent=frozenset(STATIONS)))
    assert (found.state, found.reached, "nothing was heard" in found.words) == (SHADOW, (), True)
    assert decide(standing(ROLLOUT, silent=frozenset(STATIONS))).reached == ()


def test_what_is_held_waits_for_another_ones_rollout():
    found = decide(standing(HELD, ahead="c" * 64))
    assert found == (HELD, "Held until the rollout of cccccccccccc has ended.", ())


def test_nothing_counted_speaks_neither_for_nor_against():
    """No part, no score, no champion: everything that divides stands on nothing."""
    nothing = Judged(parts=0, faults=0, not_passed=0)
    empty = scored(parts=0, disagreements=0, latency_p99_ms=None, **NONE_KEPT)
    for state in (SHADOW, ROLLOUT):
        one = standing(state, shadow=empty, judged=nothing, champion=nothing, slow_ms=None)
        assert decide(one).state is state
    all_fault = scored(parts=1, faults=1, disagreements=0, latency_p99_ms=None, **NONE_KEPT)
    assert decide(standing(SHADOW, shadow=all_fault)).state is SHADOW


def test_a_champion_nobody_knows_of_hides_no_faults():
    """Overkill and latency have nothing to be held against then."""
    nobody = Judged(parts=0, faults=0, not_passed=0)
    usual = standing(ROLLOUT, champion=nobody, slow_ms=None)
    assert decide(replace(usual, judged=judged(50, faults=6))).state is WITHDRAWN
    assert decide(replace(usual, judged=judged(50, not_passed=50))).state is ROLLOUT


def test_a_station_that_took_it_back_by_itself_ends_the_rollout():
    one = standing(ROLLOUT, refused=("s1: abc refused: 5 of 9 parts on trial were FAULT",))
    found = decide(one)
    assert (found.state, "5 of 9 parts on trial" in found.words) == (WITHDRAWN, True)


@pytest.mark.parametrize(
    ("right", "wrong", "bound"),
    [(0, 0, 1.0), (1, 0, 2 / 3), (7, 0, 8 / 255), (0, 7, 1.0), (2000, 0, 0.0), (0, 2000, 1.0)],
)
def test_evidence_of_known_scores(right, wrong, bound):
    """Without a miss the mixture's ratio is (2^(n+1) - 1) / (n + 1)."""
    assert evidence(right, wrong) == pytest.approx(bound, abs=1e-12)


def test_looking_after_every_review_is_seldom_misled():
    """Of 2,000 pairs that are equally right, at most 5 % are ever found not to be."""
    looks = range(1, 41)
    least = [min(k for k in range(n + 2) if k > n or evidence(k, n - k) < FAVOUR) for n in looks]
    right = np.cumsum(np.random.default_rng(6).random((2000, 40)) < 0.5, axis=1)
    misled = int((right >= np.array(least)).any(axis=1).sum())
    assert 20 < misled < 100


@pytest.mark.parametrize(
    ("count", "of", "share", "more"),
    [
        (0, 0, 0.5, False),
        (0, 10, 0.0, False),
        (1, 10, 0.0, True),
        (1, 1, 0.01, False),
        (2, 2, 0.01, True),
        (10, 10, 1.0, False),
        (60, 100, 0.5, False),
        (70, 100, 0.5, True),
    ],
)
def test_more_than_chance_gives(count, of, share, more):
    assert exceeds(count, of, share) is more


def test_a_bundle_as_good_as_the_champion_is_seldom_taken_back():
    """Of 20 rollouts that are looked at after every 40 of 800 parts, one at most."""
    generator = np.random.default_rng(7)
    back = 0
    for _ in range(20):
        outcomes = generator.random(800)
        for parts in range(40, 801, 40):
            seen = outcomes[:parts]
            one = judged(
                parts,
                faults=int((seen < 0.001).sum()),
                not_passed=int(((seen > 0.5) & (seen < 0.52)).sum()),
                slow=int((seen > 0.993).sum()),  # a part in 143 is beyond 1.5 times the p99
            )
            if decide(standing(ROLLOUT, judged=one)).state is WITHDRAWN:
                back += 1
                break
    assert back <= 1


def test_a_shadow_is_not_rolled_out_over_a_bundle_it_was_not_compared_with():
    """A person chose another one meanwhile."""
    assert decide(standing(SHADOW)).state is ROLLOUT
    stays = decide(standing(SHADOW, replaced=True))
    assert (stays.state, stays.reached) == (SHADOW, ())
    assert "a person decides" in stays.words
