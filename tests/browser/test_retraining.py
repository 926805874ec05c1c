"""The page Retraining in a real browser: a real alarm, a job that is cancelled, a challenger."""

from datetime import timedelta

import httpx
import numpy as np
import pytest
from playwright.sync_api import expect
from pydantic import TypeAdapter
from sqlalchemy import insert, select

from inspection.core.image_statistics import ImageStatistics
from inspection.core.records import Event
from inspection.hub import monitors
from inspection.hub.loop_tables import challengers, job_lines, job_steps, jobs
from inspection.hub.wire.people import Role
from inspection.hub.wire.retraining import ChallengerState, JobState, Step
from tests.browser.plant import wait_for
from tests.dashboard import loops
from tests.station.events import event

LINE, STATION = "line-3", "station-3"
HOURS, DARK_HOURS, PARTS = 48, 12, 25  # parts of an hour


@pytest.fixture
def drifting(plant):
    """A line whose lamp has lost a fifth of its light for half a day, and the alarm of it."""
    token = plant.served.station_token(STATION, LINE)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    for hour in range(0, HOURS, 4):
        parts = [one for later in range(4) for one in _an_hour(plant, hour + later)]
        body = TypeAdapter(list[Event]).dump_json(parts)
        stored = httpx.post(f"{plant.served.url}/v1/events", content=body, headers=headers)
        assert stored.json() == {"stored": len(parts), "refused": []}
    hub = plant.served.hub
    assert [alarm.cause for alarm in monitors.look(hub, hub.now())] == ["light"]


def _an_hour(plant, hour: int) -> list[Event]:
    began = plant.served.hub.now() - timedelta(hours=HOURS - hour)
    made = []
    for part in range(PARTS):
        number = hour * PARTS + part + 1
        scatter = np.random.default_rng(number).standard_normal(5)
        dark = 25 if hour >= HOURS - DARK_HOURS else 0
        seen = ImageStatistics(
            light=120 - dark + 4 * scatter[0],
            focus=0.1 * scatter[1],
            across=0.5 + 0.01 * scatter[2],
            down=0.5 + 0.01 * scatter[3],
            texture=-4 + 0.1 * scatter[4],
        )
        at = began + timedelta(minutes=2 * part)
        own = {"line": LINE, "station": STATION, "product": "plate", "event_id": f"{number:032x}"}
        times = {"captured_at": at, "judged_at": at}
        one = event(number, **own, **times)
        frame = one.frames[0].model_copy(update={"statistics": seen, "bundle_id": plant.newer})
        made.append(one.model_copy(update={"frames": (frame,)}))
    return made


@pytest.fixture
def training(plant):
    """A job in the hands of a worker that says nothing any more, in its second step."""
    now = plant.served.hub.now()
    until = now + timedelta(hours=1)
    job = loops.job(line=LINE, created_at=now, started_at=now, leased_until=until)
    row = job.model_dump(exclude={"steps"}) | {"request": "{}", "lease": 1}
    second = loops.step(Step.TRAIN, started_at=now, ended_at=None)
    steps = (loops.step(Step.ASSEMBLE, started_at=now, ended_at=now, note="40 new"), second)
    with plant.served.hub.database.writing() as connection:
        connection.execute(insert(jobs).values(row))
        for one in steps:
            connection.execute(insert(job_steps).values(one.model_dump() | {"job_id": job.job_id}))
    _say(plant, "training begins")
    return job


def _say(plant, text: str) -> None:
    line = {"job_id": loops.JOB, "at": plant.served.hub.now(), "level": "INFO", "text": text}
    with plant.served.hub.database.writing() as connection:
        connection.execute(insert(job_lines).values(line))


@pytest.fixture
def challenging(plant) -> None:
    """The older bundle wants to come back."""
    one = loops.challenger()
    row = {
        "line": LINE,
        "name": "redness",
        "bundle_id": plant.older,
        "champion_id": plant.newer,
        "state": one.state,
        "since": plant.served.hub.now(),
        "created_at": plant.served.hub.now(),
        "comparison": one.comparison.model_dump_json(),
        "words": one.words,
    }
    with plant.served.hub.database.writing() as connection:
        connection.execute(insert(challengers).values(row))


def row_of(plant, table):
    with plant.served.hub.database.reading() as connection:
        return connection.execute(select(table).where(table.c.line == LINE)).one()


def reason(somebody, dialog: str, words: str) -> None:
    somebody.page.get_by_label("Why").fill(words)
    somebody.page.get_by_label("Why").press("Tab")
    somebody.button(f"{dialog}-confirm").click()


@pytest.mark.usefixtures("drifting", "training", "challenging")
def test_drift_is_seen_a_job_cancelled_and_a_challenger_sent_to_the_shadow(plant, person):
    eve = person(Role.ENGINEER, "eve3")
    eve.open("retraining", LINE)
    expect(eve.page.get_by_text("adjust lamp or fixture")).to_be_visible()
    expect(eve.page.locator('[data-testid="stVegaLiteChart"]').first).to_be_visible()
    eve.shoot("retraining-drift")
    eve.key("section").get_by_text("Jobs").click()
    expect(eve.key("job-log")).to_contain_text("training begins")
    _say(plant, "epoch one ended")  # and nobody presses anything
    expect(eve.key("job-log")).to_contain_text("epoch one ended")
    eve.shoot("retraining-jobs")
    eve.button("job-cancel").click()
    eve.button("job-cancel-confirm").click()
    wait_for(lambda: row_of(plant, jobs).cancelled_by == "eve3", "the job is not cancelled")
    expect(eve.page.get_by_text("cancelled by eve3")).to_be_visible()
    assert row_of(plant, jobs).state == JobState.RUNNING  # until its worker hears of it
    eve.key("section").get_by_text("Challengers").click()
    expect(eve.page.get_by_text("Not worse on either set")).to_be_visible()
    eve.shoot("retraining-challengers")
    eve.button("challenger-shadow").click()
    reason(eve, "stage", "worth a look")
    shadow = ChallengerState.SHADOW
    wait_for(lambda: row_of(plant, challengers).state == shadow, "it is not in the shadow")
    eve.button("challenger-rollout").wait_for()
