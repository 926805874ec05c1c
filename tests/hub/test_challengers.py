"""A challenger's way to a line: who moves it, where it is offered, how it is taken back."""

from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta

import pytest
from sqlalchemy import update

from inspection.bundles.signing import Deployment
from inspection.core.errors import HubError
from inspection.hub import pulls
from inspection.hub.asking import Refused
from inspection.hub.audit import list_entries
from inspection.hub.challengers import (
    POLICY,
    _move,
    first_stations,
    get_challenger,
    list_challengers,
    move,
    say,
    stage,
)
from inspection.hub.hub import Hub
from inspection.hub.loop_tables import challengers
from inspection.hub.models import choose, list_choices, parity
from inspection.hub.overview import overview
from inspection.hub.refusals import NotThere, Standing
from inspection.hub.stations import enrol, retire
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.models import NewChoice
from inspection.hub.wire.people import Role
from inspection.hub.wire.retraining import Challenger, ChallengerState, NewStage
from tests.hub.challenge import CHAMPION, OTHER, RIVAL, add_bundles, begin, runs, set_up

HELD, SHADOW, ROLLOUT = ChallengerState.HELD, ChallengerState.SHADOW, ChallengerState.ROLLOUT
PROMOTED, WITHDRAWN = ChallengerState.PROMOTED, ChallengerState.WITHDRAWN
EIGHT = tuple(f"s{number}" for number in range(1, 9))


def offers(hub, line, station, **shadows):
    """Read what a station is offered."""
    found = pulls.offers(hub, line, station, **shadows)
    return [Deployment.model_validate_json(one.text) for one in found]


def put(hub: Hub, one: Challenger, state: ChallengerState) -> Challenger:
    """Let a person bring it there."""
    return stage(hub, one.id, NewStage.model_validate({"state": state, "comment": "so"}), "eve")


def offered(hub: Hub, station: str) -> list[tuple[str, str]]:
    found = offers(hub, "line-1", station, shadows=True)
    return [(one.bundle_id[0], one.role) for one in found]


def moment(hub: Hub, station: str):
    (one,) = offers(hub, "line-1", station)
    return one.chosen_at


def test_it_scores_beside_the_champion_then_comes_to_station_after_station(hub):
    set_up(hub, *EIGHT)
    one = begin(hub, HELD)
    assert (one.state, one.stations, one.waiting) == (HELD, (), EIGHT)
    assert offered(hub, "s1") == [("b", "champion")]
    one = put(hub, one, SHADOW)
    assert offered(hub, "s1") == [("c", "challenger"), ("b", "champion")]
    assert [o.bundle_id for o in offers(hub, "line-1", "s1")] == [CHAMPION]  # an older station
    one = put(hub, one, ROLLOUT)
    assert (one.stations, one.waiting) == (EIGHT[:2], EIGHT[2:])
    assert offered(hub, "s2") == [("c", "champion")]
    assert offered(hub, "s3") == [("c", "challenger"), ("b", "champion")]
    assert moment(hub, "s2") > moment(hub, "s3")
    one = put(hub, one, ROLLOUT)
    assert (set(one.stations), one.waiting) == (set(EIGHT), ())
    assert offered(hub, "s3") == [("c", "champion")]


def test_taken_back_in_rollout_the_champion_is_chosen_again_and_later(hub):
    set_up(hub, "s1", "s2")
    one = put(hub, begin(hub), ROLLOUT)
    reached = moment(hub, "s1")
    one = put(hub, one, WITHDRAWN)
    assert (one.state, one.stations) == (WITHDRAWN, ("s1",))
    assert offered(hub, "s1") == offered(hub, "s2") == [("b", "champion")]
    assert moment(hub, "s1") > reached
    assert [(c.bundle_id, c.who, c.why) for c in list_choices(hub, "line-1")] == [
        (CHAMPION, "eve", "so"),
        (CHAMPION, "ann", "the first"),
    ]


def test_a_champion_nobody_chose_is_chosen_on_the_way_back(sqlite_hub):
    set_up(sqlite_hub, "s1", chosen=False)
    put(sqlite_hub, put(sqlite_hub, begin(sqlite_hub), ROLLOUT), WITHDRAWN)
    assert offered(sqlite_hub, "s1") == [("b", "champion")]


def test_stations_rank_moments_whatever_the_clocks_of_training_hosts_say(sqlite_hub):
    """A bundle that was made in what the hub holds to be the future is followed, and given up."""
    set_up(sqlite_hub, "s1", "s2")
    add_bundles(sqlite_hub, OTHER, day=10_000)
    one = put(sqlite_hub, begin(sqlite_hub, bundle_id=OTHER), ROLLOUT)
    (there,) = offers(sqlite_hub, "line-1", "s1")
    put(sqlite_hub, one, WITHDRAWN)
    (back,) = offers(sqlite_hub, "line-1", "s1")
    assert back.chosen_at > max(there.created_at, there.chosen_at)


def test_taken_back_in_the_shadow_nothing_is_chosen(sqlite_hub):
    set_up(sqlite_hub, "s1")
    put(sqlite_hub, begin(sqlite_hub), WITHDRAWN)
    assert offered(sqlite_hub, "s1") == [("b", "champion")]
    assert len(list_choices(sqlite_hub, "line-1")) == 1


@pytest.mark.parametrize(("chosen", "ended"), [(RIVAL, PROMOTED), (OTHER, WITHDRAWN)])
def test_a_choice_is_the_last_word_on_a_line(sqlite_hub, chosen, ended):
    set_up(sqlite_hub, "s1")
    add_bundles(sqlite_hub, OTHER)
    one = put(sqlite_hub, begin(sqlite_hub), ROLLOUT)
    choose(sqlite_hub, "line-1", NewChoice(bundle_id=chosen, comment="my word"), "eve")
    one = get_challenger(sqlite_hub, one.id)
    assert (one.state, one.words, one.waiting) == (ended, "my word", ())
    assert offered(sqlite_hub, "s1") == [(chosen[0], "champion")]


def test_a_choice_on_another_line_ends_nothing(sqlite_hub):
    set_up(sqlite_hub, "s1")
    begin(sqlite_hub)
    choose(sqlite_hub, "line-2", NewChoice(bundle_id=RIVAL, comment="x"), "eve")
    assert list_challengers(sqlite_hub)[0].state is SHADOW


def test_one_of_a_line_and_name_is_open_and_a_new_one_withdraws_it(hub):
    set_up(hub, "s1")
    add_bundles(hub, OTHER)
    first = begin(hub)
    assert begin(hub) == first  # a job that was resumed
    second = begin(hub, bundle_id=OTHER)
    assert [(one.id, one.state) for one in list_challengers(hub, "line-1")] == [
        (second.id, SHADOW),
        (first.id, WITHDRAWN),
    ]
    assert get_challenger(hub, first.id).words == f"{OTHER[:12]} came"
    assert list_challengers(hub, "line-2") == ()


def test_one_that_is_rolled_out_while_a_new_one_comes_is_not_withdrawn_with_its_stations(hub):
    """Else they would keep it: only a move from the rollout chooses the champion again."""
    set_up(hub, "s1", "s2")
    add_bundles(hub, OTHER)
    first = begin(hub)
    with ThreadPoolExecutor(1) as pool:
        with hub.database.writing() as connection:
            assert _move(connection, hub, first, ROLLOUT, POLICY, "go", ("s1",))
            coming = pool.submit(begin, hub, bundle_id=OTHER)
            assert wait([coming], 1.0).not_done  # it has read what it could by now
        second = coming.result(30)
    assert (second.state, second.words) == (
        HELD,
        f"It is no worse. It waits until the rollout of {RIVAL[:12]} has ended.",
    )
    assert get_challenger(hub, first.id).state is ROLLOUT
    assert offered(hub, "s1") == [("c", "champion")]


def test_one_that_a_new_one_withdraws_is_audited_as_every_move(sqlite_hub):
    set_up(sqlite_hub, "s1")
    add_bundles(sqlite_hub, OTHER)
    begin(sqlite_hub)
    begin(sqlite_hub, bundle_id=OTHER)
    last, before = list_entries(sqlite_hub, None, 2).items
    assert (last.action, last.subject) == ("challenger add", f"line-1: {OTHER}")
    assert (before.actor, before.action) == (POLICY, "challenger withdrawn")
    assert (before.subject, before.detail["why"]) == (f"line-1: {RIVAL}", f"{OTHER[:12]} came")


def test_a_new_one_waits_for_the_end_of_a_rollout(hub):
    """Held, whoever asks; when the rollout was taken back, it may be tried."""
    set_up(hub, "s1", "s2")
    add_bundles(hub, OTHER)
    first = put(hub, begin(hub), ROLLOUT)
    second = begin(hub, bundle_id=OTHER)
    assert (second.state, second.words) == (
        HELD,
        f"It is no worse. It waits until the rollout of {RIVAL[:12]} has ended.",
    )
    assert begin(hub, bundle_id=OTHER) == second
    assert get_challenger(hub, first.id).state is ROLLOUT
    assert offered(hub, "s1") == [("c", "champion")]
    for state in (SHADOW, ROLLOUT):
        with pytest.raises(Standing, match="cccccccccccc is in rollout on line 'line-1'; wait"):
            put(hub, second, state)
    put(hub, first, WITHDRAWN)
    assert get_challenger(hub, second.id).state is HELD
    assert put(hub, second, SHADOW).state is SHADOW


def test_two_of_one_name_that_end_at_once_leave_one_open(hub):
    """Their transactions may cross on PostgreSQL; the table itself refuses the second."""
    set_up(hub, "s1")
    ids = [f"{number:064x}" for number in range(6)]
    add_bundles(hub, *ids)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda one: begin(hub, bundle_id=one), ids))
    states = [one.state for one in list_challengers(hub)]
    assert sorted(states) == [SHADOW, *[WITHDRAWN] * 5]
    with pytest.raises(HubError), hub.database.writing() as connection:
        connection.execute(update(challengers).values(state="held"))


def test_one_that_was_compared_with_another_bundle_than_judges_now_is_held(sqlite_hub):
    set_up(sqlite_hub, "s1")
    add_bundles(sqlite_hub, OTHER)
    choose(sqlite_hub, "line-1", NewChoice(bundle_id=OTHER, comment="x"), "eve")
    one = begin(sqlite_hub)
    assert (one.state, one.words) == (
        HELD,
        "It is no worse. By now dddddddddddd judges, with which it was not compared.",
    )


@pytest.mark.parametrize("ended", [PROMOTED, WITHDRAWN])
def test_what_has_ended_is_not_moved_any_more(sqlite_hub, ended):
    set_up(sqlite_hub, "s1")
    one = begin(sqlite_hub)
    assert move(sqlite_hub, one, ended, POLICY, "why")
    for state in (SHADOW, ROLLOUT, WITHDRAWN):
        with pytest.raises(Standing, match=f"is {ended}; it cannot come to {state} any more"):
            put(sqlite_hub, one, state)


def test_nothing_is_rolled_out_where_it_leads_nowhere_or_not_back(sqlite_hub):
    set_up(sqlite_hub)
    with pytest.raises(Standing, match="no further station of line 'line-1' says that it judges"):
        put(sqlite_hub, begin(sqlite_hub), ROLLOUT)
    with pytest.raises(NotThere, match="challenger 99: is not here"):
        get_challenger(sqlite_hub, 99)


def test_nothing_is_rolled_out_before_a_champion_that_is_not_on_the_hub(sqlite_hub):
    add_bundles(sqlite_hub, RIVAL)
    enrol(sqlite_hub, NewStation(station="s1", line="line-1"), "test")
    runs(sqlite_hub, "s1", CHAMPION)
    with pytest.raises(Standing, match="the champion bbbbbbbbbbbb is not on this hub"):
        put(sqlite_hub, begin(sqlite_hub), ROLLOUT)


def test_of_two_hubs_that_decide_at_once_one_moves_it(hub):
    set_up(hub, "s1", "s2")
    seen = begin(hub)
    assert move(hub, seen, ROLLOUT, POLICY, "first", ("s1",))
    assert not move(hub, seen, ROLLOUT, POLICY, "second", ("s1",))
    assert not move(hub, seen, WITHDRAWN, POLICY, "second")
    say(hub, seen, "too late")
    now = get_challenger(hub, seen.id)
    assert (now.state, now.words, now.stations) == (ROLLOUT, "first", ("s1",))
    assert len(list_choices(hub, "line-1")) == 1


def test_retired_stations_and_those_of_other_bundles_get_nothing(sqlite_hub):
    set_up(sqlite_hub, "s1", "s2")
    retire(sqlite_hub, "s1", "test")
    assert begin(sqlite_hub).waiting == ("s2",)


def test_a_station_in_rollout_agrees_with_what_it_is_to_judge_by(sqlite_hub):
    set_up(sqlite_hub, "s1", "s2")
    put(sqlite_hub, begin(sqlite_hub), ROLLOUT)
    assert [(one.station, one.agrees) for one in parity(sqlite_hub)] == [
        ("s1", False),
        ("s2", True),
    ]
    runs(sqlite_hub, "s1", RIVAL)
    assert all(one.agrees for one in parity(sqlite_hub))
    assert [one.what for one in overview(sqlite_hub, 1).needs if "another bundle" in one.what] == []


@pytest.mark.parametrize(
    ("count", "share", "wanted"), [(1, 0.25, 1), (7, 0.25, 1), (8, 0.25, 2), (3, 1.0, 3)]
)
def test_a_share_of_the_stations_and_one_at_least(count, share, wanted):
    assert len(first_stations(EIGHT[:count], share)) == wanted


def test_viewers_read_engineers_move_and_all_of_it_is_audited(sqlite_plant):
    plant, hub = sqlite_plant, sqlite_plant.hub
    set_up(hub, "s1")
    one = begin(hub, HELD)
    new = NewStage(state=SHADOW, comment="let us see")
    with pytest.raises(Refused, match="this needs engineer"):
        plant.person(Role.REVIEWER).stage(one.id, new)
    engineer = plant.person(Role.ENGINEER)
    moved = engineer.stage(one.id, new)
    assert (moved.state, moved.words) == (SHADOW, "let us see")
    assert plant.person(Role.VIEWER).challengers() == (moved,)
    with pytest.raises(Refused, match="is shadow; it cannot come to shadow any more"):
        engineer.stage(one.id, new)
    engineer.stage(one.id, NewStage(state=ROLLOUT, comment="go"))
    engineer.stage(one.id, NewStage(state=WITHDRAWN, comment="back"))
    told = [
        (entry.actor, entry.action, entry.detail.get("why"))
        for entry in list_entries(hub, None, 100).items
        if "challenger" in entry.action or entry.action == "bundle choose"
    ]
    assert told[::-1] == [
        ("ann", "bundle choose", "the first"),
        ("policy", "challenger add", None),
        ("engineer-1", "challenger shadow", "let us see"),
        ("engineer-1", "challenger rollout", "go"),
        ("engineer-1", "challenger withdrawn", "back"),
        ("engineer-1", "bundle choose", "back"),
    ]


def test_what_the_policy_says_is_kept_and_moves_nothing(sqlite_hub):
    set_up(sqlite_hub, "s1")
    seen = begin(sqlite_hub)
    say(sqlite_hub, seen, "500 parts are wanted")
    now = get_challenger(sqlite_hub, seen.id)
    assert now == seen.model_copy(update={"words": "500 parts are wanted"})
    assert now.since - seen.since == timedelta(0)
