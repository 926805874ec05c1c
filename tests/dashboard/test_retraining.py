"""The page Retraining: drift, policy, jobs with their log, challengers, what is forgotten."""

import hashlib
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from inspection.dashboard.parts import charts, formats, joblog
from inspection.dashboard.parts.jobs import OPEN, share
from inspection.hub.wire.message import Page
from inspection.hub.wire.people import Role
from inspection.hub.wire.retraining import Cause, ChallengerState, JobKind, JobState
from tests.dashboard import drawn
from tests.dashboard.fake import FakeHub, answered, opened, refusal
from tests.dashboard.loops import (
    JOB,
    PICTURE,
    alarm,
    challenger,
    forgotten,
    job,
    line_of_log,
    monitored,
    policy,
    shadow,
)

ALARMS, MONITORS, POLICY = "/v1/alarms", "/v1/lines/line-1/monitors", "/v1/policy"
JOBS, ONE_JOB, LOG = "/v1/jobs", f"/v1/jobs/{JOB}", f"/v1/jobs/{JOB}/log"
CHALLENGERS, FORGOTTEN = "/v1/challengers", "/v1/forgotten"


def loop(**more) -> FakeHub:
    """A hub on which nothing has happened, but for what is given by the names below."""
    paths = {
        "alarms": ALARMS,
        "monitors": MONITORS,
        "policy": POLICY,
        "jobs": JOBS,
        "job": ONE_JOB,
        "log": LOG,
        "challengers": CHALLENGERS,
        "forgotten": FORGOTTEN,
    }
    return FakeHub({("GET", path): more.get(name, ()) for name, path in paths.items()})


def shown(hub: FakeHub, section: str = "Drift", role: Role = Role.ENGINEER):
    test = opened("retraining", hub, role)
    test.session_state["section"] = section
    test.run()
    assert not test.exception
    return test


def text(test) -> str:
    kinds = (test.markdown, test.caption, test.info, test.warning, test.success, test.error)
    return "\n".join(one.value for kind in kinds for one in kind)


def buttons(test) -> set[str]:
    return {str(button.key) for button in test.button}


def table(test, column: str):
    return next(one.value for one in test.dataframe if column in one.value.columns)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("Drift", "Nothing is watched on line-1 yet"),
        ("Jobs", "Add it under `products` of `configs/retraining.yaml`"),
        ("Challengers", "No bundle is on its way to line-1"),
        ("Forgotten", "Nothing was forgotten"),
    ],
)
def test_a_hub_on_which_nothing_happened_says_what_to_do(section, said):
    """No empty table and no empty plot."""
    test = shown(loop(), section)
    assert said in text(test)
    assert not test.dataframe


def test_an_alarm_stands_first_with_its_cause_and_advice():
    """The alarm of another line is named only; one that was raised and cleared is folded."""
    elsewhere = alarm(2, line="line-2")
    hub = loop(
        alarms=(alarm(), elsewhere), monitors=(monitored(standing=1), monitored(Cause.FOCUS))
    )
    test = shown(hub)
    first = ":red-badge[light] **plate, camera top** :orange-badge[adjust lamp or fixture]"
    assert test.markdown[0].value == first
    assert "Look at the lamp" in text(test)
    assert "Alarms stand on other lines: line-2." in text(test)
    assert "**Light** :red-badge[alarm] :small[:gray[against 500 parts]]" in text(test)
    assert "2 alarms of drift" in text(test)
    assert not [one for one in hub.asked if one.url.params.get("standing") == "false"]


def test_past_alarms_are_asked_for_when_they_are_unfolded():
    """What stands is not among them."""
    past = alarm(3, Cause.FOCUS, cleared_at=drawn.AT, why_cleared="settled")
    hub = loop(alarms=lambda one: (alarm(), past) if "standing=false" in str(one.url) else ())
    test = opened("retraining", hub)
    test.session_state["alarms-past"] = True
    test.run()
    assert not test.exception
    assert table(test, "cleared")["cause"].tolist() == ["focus"]


def test_an_alarm_is_dismissed_with_a_comment():
    """The hub is told which, and why."""
    hub = loop(alarms=(alarm(),))
    hub.answers["POST", f"{ALARMS}/1/dismissal"] = alarm(
        why_cleared="dismissed", cleared_at=drawn.AT
    )
    test = shown(hub)
    test.button(key="alarm-dismiss-1").click().run()
    answered(test, "alarm-dismiss-1", "dismiss-confirm", dismiss_why="a new lamp")
    assert hub.calls("POST", f"{ALARMS}/1/dismissal") == [{"comment": "a new lamp"}]


def test_a_chart_shows_band_means_and_the_mark_of_the_alarm():
    """Band, line and rule; where no limit and no alarm is known, the line alone."""
    one = monitored()
    layers = charts.monitor(one.blocks, one.limit, drawn.AT).to_dict()["layer"]
    assert [layer["mark"]["type"] for layer in layers] == ["rect", "line", "rule"]
    low, high = layers[1]["encoding"]["y"]["scale"]["domain"]
    assert low == -high < one.blocks[-1][1]
    assert len(charts.monitor(one.blocks, None, None).to_dict()["layer"]) == 1


def test_of_several_places_that_with_an_alarm_is_drawn_first():
    """One product and camera at a time."""
    monitors = (monitored(camera="a"), monitored(camera="b", standing=1))
    test = shown(loop(alarms=(alarm(camera="b"),), monitors=monitors))
    assert test.selectbox(key="monitors").value[2] == "b"


def looked(hours_ago: float = 0.5) -> dict[str, object]:
    """A monitor that watches on a hub that looked so long ago."""
    at = datetime.now(UTC) - timedelta(hours=hours_ago)
    return {"watched": True, "since": drawn.AT, "recent": 12, "looked_at": at}


def test_a_line_on_which_nothing_drifted_says_since_when_it_is_watched():
    """Of all causes of all places."""
    test = shown(loop(monitors=(monitored(**looked()), monitored(Cause.FOCUS, **looked()))))
    (said,) = test.success
    assert said.value.startswith("Nothing has drifted here by the last 12 blocks, held against ")
    assert "parts from 2026-03-04 05:06:07" in said.value
    assert "Not watched" not in text(test)


@pytest.mark.parametrize(
    ("looked_at", "said"),
    [
        ({"looked_at": None}, "Nobody looks for drift here: it has never looked"),
        (looked(4), "Nobody looks for drift here: last on "),
    ],
    ids=["never", "hours ago"],
)
def test_where_nobody_looks_nothing_is_said_to_be_calm(looked_at, said):
    """A hub that runs without retraining raises no alarm, whatever drifts."""
    test = shown(loop(monitors=(monitored(**looked() | looked_at),)))
    assert said in test.warning[0].value
    assert not test.success
    assert "Nothing has drifted" not in text(test)


def test_what_is_not_watched_is_said_with_the_reason():
    """Of one station all, of another one cause; the rest is calm where it is watched."""
    gathering = "Its reference is still gathered: 40 of 500 parts."
    new = [
        monitored(cause, station="b", note=gathering, **looked() | {"watched": False})
        for cause in Cause
    ]
    odd = monitored(Cause.FEATURES, note="Not measured.", **looked() | {"watched": False})
    test = shown(loop(monitors=(monitored(station="a", **looked()), *new, odd)))
    said = text(test).replace("\\", "")
    assert not test.success
    assert "Nothing has drifted where it is watched by the last 12 blocks" in said
    assert "Not watched yet: anything at plate, b, camera top, bundle" in said
    assert gathering in said
    assert "Not watched yet: features at plate, camera top" in said


def test_where_one_cause_is_not_watched_it_is_not_calm_everywhere():
    odd = monitored(Cause.FEATURES, note="Not measured.", **looked() | {"watched": False})
    test = shown(loop(monitors=(monitored(**looked()), odd)))
    assert not test.success
    assert "Nothing has drifted where it is watched" in text(test)


def test_an_alarm_names_its_station_and_frames_that_guards_hold():
    """Whose lens to clean, and that thresholds do not help."""
    test = shown(loop(alarms=(alarm(station="station-3", guarded=True),)))
    assert "**plate, station-3, camera top**" in test.markdown[0].value.replace("\\", "")
    assert "guards hold most of these frames for review" in text(test)
    assert "guards can learn alone" in text(test)
    smeared = shown(loop(alarms=(alarm(cause=Cause.TEXTURE, guarded=True),)))
    assert "guards hold most of these frames for review" in text(smeared)
    assert "guards can learn alone" not in text(smeared)


def test_a_hub_without_retraining_beside_it_explains_itself():
    """No error; the jobs of the past are listed all the same."""
    hub = loop(policy=refusal(409, "no retraining runs beside this hub; give --retraining FILE"))
    hub.answers |= loop(jobs=(job(state=JobState.DONE),), job=job(state=JobState.DONE)).answers | {
        ("GET", POLICY): hub.answers["GET", POLICY]
    }
    test = shown(hub, "Jobs")
    assert "give --retraining FILE" in test.info[0].value
    assert not test.error
    assert table(test, "state")["state"].tolist() == ["done"]
    assert "job-start" not in buttons(test)


def test_the_policy_says_of_each_product_of_the_line_what_is_due_and_what_is_allowed():
    """Products of other lines are not mixed in."""
    test = shown(
        loop(policy=(policy(due="retrain"), policy(line="line-2", product="ring"))), "Jobs"
    )
    assert ":orange-badge[retrain is due] **plate**" in text(test)
    assert "held for one" in text(test)
    assert "ring" not in text(test)


def test_a_running_job_shows_steps_progress_and_log():
    """Tries count; steps that have not begun are to come."""
    hub = loop(jobs=(job(),), job=job(), log=(line_of_log(7, "epoch *1*"),))
    test = shown(hub, "Jobs")
    assert table(test, "progress").iloc[0]["progress"] == 25
    steps = table(test, "tries")
    assert steps["stands"].tolist() == ["done", "runs"] + ["to come"] * 4
    assert steps["tries"].tolist()[:2] == [1, 2]
    assert "INFO     epoch *1*" in test.code[0].value
    assert test.get("progress")[0].text == "train, 50 of 100"


def test_a_job_shows_the_steps_of_its_kind_only():
    """New guards train and export nothing; a re-fit that runs waits for nobody."""
    guards = job(kind=JobKind.GUARDS, step="assemble", steps=())
    test = shown(loop(jobs=(guards,), job=guards), "Jobs")
    assert table(test, "tries")["step"].tolist() == ["assemble", "calibrate", "gate", "compare"]
    refit = job(kind=JobKind.REFIT, step="", steps=(), done=0, total=0)
    test = shown(loop(jobs=(refit,), job=refit), "Jobs")
    assert test.get("progress")[0].text == "runs"
    assert "it has no steps" in text(test)
    assert not any("tries" in one.value.columns for one in test.dataframe)
    waits = job(kind=JobKind.RETRAIN, state=JobState.WAITING, done=0, total=0)
    test = shown(loop(jobs=(waits,), job=waits), "Jobs")
    assert test.get("progress")[0].text == "waits for a worker"


def test_a_log_is_read_on_after_its_last_line():
    """What was read stands; another job's log begins anew."""
    hub = loop(jobs=(job(),), job=job(), log=(line_of_log(7, "first"),))
    test = shown(hub, "Jobs")
    hub.answers["GET", LOG] = (line_of_log(9, "second"),)
    test.run()
    after = [one.url.params["after"] for one in hub.asked if one.url.path == LOG]
    assert after == ["0", "7"]
    assert [line.split()[-1] for line in test.code[0].value.splitlines()] == ["first", "second"]


def test_of_a_long_log_the_end_is_shown():
    """All of it is read, in pages."""

    def page(request: httpx.Request):
        first = int(request.url.params["after"]) + 1
        return tuple(line_of_log(n) for n in range(first, min(first + joblog.PAGE, 1201)))

    test = shown(loop(jobs=(job(),), job=job(), log=page), "Jobs")
    assert "the last 500 of 1,200 lines" in text(test)
    assert len(test.code[0].value.splitlines()) == 500


def test_a_job_is_cancelled_after_a_question():
    """One that is being cancelled, or has ended, cannot be."""
    hub = loop(jobs=(job(),), job=job())
    hub.answers["POST", f"{ONE_JOB}/cancellation"] = job(cancelled_by="engineer-1")
    test = shown(hub, "Jobs")
    answered(test, "job-cancel", "job-cancel-confirm")
    assert hub.calls("POST", f"{ONE_JOB}/cancellation") == [{}]
    hub.answers["GET", JOBS] = (job(cancelled_by="engineer-1"),)
    test = shown(hub, "Jobs")
    assert "job-cancel" not in buttons(test)
    assert table(test, "state")["state"].tolist() == ["cancelling"]


def test_a_job_is_started_by_hand_and_opened():
    """With the product of the line, a kind and a reason."""
    hub = loop(policy=(policy(line="line-0"), policy()))
    hub.answers["POST", JOBS] = job()
    test = shown(hub, "Jobs")
    test.button(key="job-start").click().run()
    for kind, said in (
        (JobKind.UPDATE, "PatchCore's bank takes in reviewed good parts. What comes"),
        (JobKind.RETRAIN, "Everything anew. What comes"),
    ):
        test.selectbox(key="start-kind").select(kind)
        test.button(key="job-start").click().run()
        assert said in text(test)
    answered(test, "job-start", "start-confirm", start_why="a new batch")
    sent = hub.calls("POST", JOBS)
    assert sent == [
        {"line": "line-1", "product": "plate", "kind": "retrain", "comment": "a new batch"}
    ]
    assert test.session_state[OPEN] == JOB
    hub.answers |= loop(jobs=(job("a" * 64), job()), job=job()).answers
    assert test.run().selectbox(key="job").value == JOB


def test_more_jobs_are_asked_for_on_demand():
    """Twenty at first."""
    hub = loop(jobs=(job(),), job=job())
    test = shown(hub, "Jobs")
    test.segmented_control(key="jobs-newest").set_value(500).run()
    assert not test.exception
    assert [one.url.params["limit"] for one in hub.asked if one.url.path == JOBS][-1] == "500"


def test_what_was_open_and_is_listed_no_more_gives_way_to_another():
    """Newer jobs came, a challenger was withdrawn by somebody else: the first is open."""
    hub = loop(jobs=(job(), job("a" * 64, JobState.DONE)), job=job())
    hub.answers |= {
        ("GET", f"{JOBS}/{'a' * 64}"): job("a" * 64, JobState.DONE),
        ("GET", f"{JOBS}/{'a' * 64}/log"): (),
    }
    test = shown(hub, "Jobs")
    test.selectbox(key="job").set_value("a" * 64).run()
    hub.answers["GET", JOBS] = (job(),)
    test.run()
    assert not test.exception
    assert hub.asked[-1].url.path == LOG
    hub = loop(challengers=(challenger(2, name="ring"), challenger(1)))
    test = shown(hub, "Challengers")
    test.selectbox(key="challenger").set_value(1).run()
    newest = challenger(3, name="cap", words="the newest")
    hub.answers["GET", CHALLENGERS] = (newest, challenger(2, name="ring"))
    test.run()
    assert not test.exception
    assert "the newest" in text(test)


def test_champion_and_challenger_stand_side_by_side():
    """On both sets, with intervals."""
    test = shown(loop(challengers=(challenger(),)), "Challengers")
    rows = table(test, "frozen: champion").set_index("")
    assert rows.loc["AUROC", "frozen: challenger"] == "0.9700 [0.9300, 0.9900]"
    assert rows.loc["escapes", "recent: champion"] == "2 of 6"
    assert "1 challenger held for a person" in text(test)
    assert "It has scored no part beside the champion yet" in text(test)


@pytest.mark.parametrize(
    ("state", "waiting", "offered"),
    [
        (ChallengerState.HELD, ("s-2",), {"shadow", "rollout", "withdrawn"}),
        (ChallengerState.SHADOW, ("s-2",), {"rollout", "withdrawn"}),
        (ChallengerState.ROLLOUT, ("s-2",), {"rollout", "withdrawn"}),
        (ChallengerState.ROLLOUT, (), {"withdrawn"}),
        (ChallengerState.PROMOTED, (), set()),
    ],
)
def test_what_may_be_done_with_a_challenger_follows_its_state(state, waiting, offered):
    """What is over is folded."""
    one = challenger(state=state, shadow=shadow(), stations=("s-1",), waiting=waiting)
    hub = loop(challengers=(one,))
    stages = {f"challenger-{stage}" for stage in offered}
    assert buttons(shown(hub, "Challengers")) == stages


def test_a_challenger_is_sent_to_the_shadow_with_a_comment():
    """The hub is told the state."""
    hub = loop(challengers=(challenger(),))
    hub.answers["POST", f"{CHALLENGERS}/1/stage"] = challenger(state=ChallengerState.SHADOW)
    test = shown(hub, "Challengers")
    test.button(key="challenger-shadow").click().run()
    answered(test, "challenger-shadow", "stage-confirm", stage_why="looks better")
    sent = hub.calls("POST", f"{CHALLENGERS}/1/stage")
    assert sent == [{"state": "shadow", "comment": "looks better"}]


def test_the_shadow_says_who_was_right_and_leads_to_the_review():
    """As long as a disagreement waits for a person."""
    hub = loop(challengers=(challenger(state=ChallengerState.SHADOW, shadow=shadow()),))
    test = shown(hub, "Challengers")
    cells = {cell.label: cell.value for cell in test.metric}
    assert cells["Disagreements"] == "12"
    assert "They disagree on 1.50%" in text(test)
    assert cells["Challenger right"] == "7 of 9"
    assert "Review the disagreements" in text(test)


def test_a_first_bundle_has_nothing_to_be_compared_with():
    """Neither set, and it says so."""
    first = challenger()
    alone = first.comparison.model_copy(update={"frozen": None, "recent": None})
    hub = loop(challengers=(first.model_copy(update={"comparison": alone}),))
    assert "there was no champion" in text(shown(hub, "Challengers"))


def test_a_picture_is_forgotten_by_the_hash_of_its_stored_bytes():
    """Found by the name of its part; the comment goes along."""
    hub = loop(forgotten=(forgotten(),))
    rows = Page(items=(drawn.row(1),), next=None)
    picture = "/v1/events/event-1/pictures/top.jpg"
    hub.answers |= {
        ("GET", "/v1/events"): rows,
        ("GET", "/v1/events/event-1"): drawn.detail(1),
        ("GET", picture): drawn.jpeg(),
        ("POST", FORGOTTEN): forgotten(),
    }
    test = shown(hub, "Forgotten")
    assert table(test, "vectors")["vectors"].tolist() == [17]
    test.text_input(key="forget-part").input("part-1").run()
    assert not test.exception
    test.button(key="forget-event-1-top.jpg").click().run()
    answered(test, "forget-event-1-top.jpg", "forget-confirm", forget_why="a hand is in it")
    digest = hashlib.sha256(drawn.jpeg()).hexdigest()
    assert hub.calls("POST", FORGOTTEN) == [{"sha256": digest, "comment": "a hand is in it"}]


def test_a_picture_that_is_no_longer_there_is_forgotten_by_its_hash():
    """Nothing is looked for."""
    hub = loop()
    hub.answers["POST", FORGOTTEN] = forgotten()
    test = shown(hub, "Forgotten")
    test.text_input(key="forget-part").input(PICTURE).run()
    test.button(key="forget-sha256").click().run()
    answered(test, "forget-sha256", "forget-confirm", forget_why="wrong lens")
    assert hub.calls("POST", FORGOTTEN)[0]["sha256"] == PICTURE


def test_thresholds_that_were_fitted_on_a_forgotten_picture_are_named():
    """In the table, and in the words after forgetting."""
    hub = loop(forgotten=(forgotten(thresholds=("c" * 64,)),))
    hub.answers["POST", FORGOTTEN] = forgotten(thresholds=("c" * 64,))
    test = shown(hub, "Forgotten")
    assert table(test, "vectors")["thresholds in force"].tolist() == [formats.short("c" * 64)]
    test.text_input(key="forget-part").input(PICTURE).run()
    test.button(key="forget-sha256").click().run()
    answered(test, "forget-sha256", "forget-confirm", forget_why="wrong lens")
    assert "bundle, and the thresholds in force, record cccc" in test.session_state["notice"]


def test_a_part_without_picture_says_what_to_do():
    """A name that nobody knows is no error."""
    hub = loop()
    hub.answers["GET", "/v1/events"] = Page(items=(), next=None)
    test = shown(hub, "Forgotten")
    test.text_input(key="forget-part").input("unknown *part*").run()
    assert r"No picture of part unknown \*part\*" in text(test)


@pytest.mark.parametrize("section", ["Drift", "Jobs", "Challengers", "Forgotten"])
def test_a_viewer_looks_and_changes_nothing(section):
    """Every section, no button."""
    hub = loop(
        alarms=(alarm(),),
        monitors=(monitored(),),
        policy=(policy(),),
        jobs=(job(),),
        job=job(),
        challengers=(challenger(),),
        forgotten=(forgotten(),),
    )
    assert buttons(shown(hub, section, Role.VIEWER)) == set()
    assert not [one for one in hub.asked if one.url.path == FORGOTTEN]


def test_a_thousand_jobs_and_long_names_are_shown_as_they_are():
    """Markdown in a name is not obeyed, and no name is cut off by us."""
    name = "Blech ![x](http://a.b) 板 " + "ü" * 90
    jobs = tuple(job(f"{n:064x}", JobState.DONE, product=name) for n in range(1000))
    hub = loop(jobs=jobs, policy=(policy(product=name, words="w" * 4000),))
    hub.answers["GET", f"/v1/jobs/{0:064x}"] = jobs[0]
    hub.answers["GET", f"/v1/jobs/{0:064x}/log"] = ()
    test = shown(hub, "Jobs")
    assert len(table(test, "state")) == 1000
    assert table(test, "state")["product"][0] == name
    assert "![x]" not in text(test)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("more", "done"),
    [
        ({"step": ""}, 0.0),
        ({"step": "train", "total": 0}, 1 / 6),
        ({"step": "train", "done": 300}, 2 / 6),
        ({"step": "of a newer hub"}, 0.0),
        ({"state": JobState.DONE}, 1.0),
        ({"kind": JobKind.GUARDS, "step": "calibrate"}, 1.5 / 4),
        ({"kind": JobKind.UPDATE, "step": "compare", "total": 0}, 3 / 4),
        ({"kind": JobKind.REFIT, "step": ""}, 0.0),
    ],
)
def test_the_steps_of_a_kind_count_alike(more, done):
    """What cannot be counted counts when it is over; no bar goes beyond its end."""
    assert share(job(**more)) == pytest.approx(done)
