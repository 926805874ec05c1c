"""The commands of retraining, and the hub that is served with it."""

import json
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest
import yaml
from pydantic import SecretStr

from inspection.core.config import load_config
from inspection.hub import jobs
from inspection.hub.accounts import add_account
from inspection.hub.hub import Hub, open_hub
from inspection.hub.settings import HubConfig
from inspection.hub.wire.people import NewAccount, Role
from inspection.hub.wire.retraining import JobKind, JobState
from inspection.retraining import once
from inspection.retraining.facts import request_of
from inspection.retraining.settings import RetrainingConfig
from tests.command import Said, finish, inspection, start
from tests.retraining.loop import end_job, judge_with, make_config

SHIPPED = Path(__file__).parents[1] / "configs/retraining.yaml"


class Loop:
    """A hub and the configuration of its retraining in a folder, and the commands on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.config = HubConfig(
            port=port,
            database=f"sqlite:///{folder}/hub.sqlite",
            artefacts=str(folder / "artefacts"),
            cache_dir=folder / "cache",
        )
        self._write("hub.yaml", self.config.model_dump(mode="json", exclude_defaults=True))
        self.write(RetrainingConfig())
        self.hub().close()

    def write(self, config: RetrainingConfig) -> None:
        """Retrain by another configuration."""
        self._write("retraining.yaml", config.model_dump(mode="json", exclude_defaults=True))

    def hub(self) -> Hub:
        """Open the hub."""
        return open_hub(self.config)

    def said(self, *words: object) -> Said:
        """Run a command of retraining."""
        files = "--config", self.folder / "retraining.yaml", "--hub", self.folder / "hub.yaml"
        return inspection("retrain", *words, *files)

    def _write(self, name: str, values: object) -> None:
        (self.folder / name).write_text(yaml.safe_dump(values))


@pytest.fixture
def loop(tmp_path) -> Loop:
    return Loop(tmp_path)


def test_the_shipped_file_says_the_defaults():
    assert load_config(SHIPPED, RetrainingConfig) == RetrainingConfig()


def test_without_products_nothing_is_due(loop):
    said = "no product is configured; add one under products\n"
    assert loop.said("--if-due") == Said(0, said, "")
    assert loop.said("policy").out == said


@pytest.mark.parametrize("words", ["--if-due", "policy", "job 0123"])
def test_a_hub_that_was_never_there_is_not_made(loop, tmp_path, words):
    """From cron the folder may be another than the one that paths are relative to."""
    loop.write(make_config(tmp_path))
    (tmp_path / "hub.sqlite").unlink()
    said = loop.said(*words.split())
    assert said.code == 2
    assert "hub.sqlite is not there; wanted that of a hub that was served before" in said.err
    assert not (tmp_path / "hub.sqlite").exists()


def test_the_policy_speaks_of_each_product(loop, tmp_path):
    loop.write(make_config(tmp_path, policy={"allowed": "nothing"}))
    [said] = json.loads(loop.said("policy", "--json").out)
    assert (said["line"], said["product"], said["due"]) == ("line-1", "plate", "retrain")
    assert "line-1  plate\nDue is a training." in loop.said("policy").out
    barred = loop.said("--if-due")
    assert barred.code == 0
    assert barred.out.startswith("line-1  plate  nothing was done: Due is a training. No bundle ")
    assert barred.out.endswith("By itself nothing is allowed; a person may start it.\n")


def test_what_another_worker_has_is_not_said_to_be_nothing(loop, tmp_path):
    config = make_config(tmp_path, products=2)
    loop.write(config)
    hub = loop.hub()
    jobs.ask(hub, request_of(hub, config.products[0], JobKind.RETRAIN), "ann", "glare")
    jobs.lease(hub, "other", 600)
    said = loop.said("--if-due")
    assert (said.code, set(said.out.splitlines())) == (
        0,
        {
            "line-1  plate  retrain  asked for by ann; another worker has it",
            "line-1  plate-1  retrain  asked for by policy; it waits, for another worker has one",
        },
    )
    hub.close()


def test_of_a_young_bundle_nothing_is_due(loop, tmp_path):
    loop.write(make_config(tmp_path))
    hub = loop.hub()
    judge_with(hub, tmp_path / "bundle")
    hub.close()
    assert loop.said("--if-due") == Said(0, "nothing is due\n", "")


def test_a_product_that_cannot_be_looked_at_is_a_fault(loop, tmp_path):
    loop.write(make_config(tmp_path))
    (tmp_path / "train.yaml").unlink()
    said = loop.said("--if-due")
    assert said.code == 3
    assert said.out.startswith("fault: plate on line-1: ")


def test_a_job_that_cannot_be_done_is_a_fault_and_said_on_the_hub(loop, tmp_path):
    config = make_config(tmp_path)
    loop.write(config)
    hub = loop.hub()
    job_id = jobs.ask(hub, request_of(hub, config.products[0], JobKind.RETRAIN), "a", "b").job_id
    (tmp_path / "set.json").unlink()
    said = loop.said("job", job_id)
    assert (said.code, said.out) == (3, f"{job_id}  failed\n")
    assert "set.json" in jobs.get_job(hub, job_id).outcome
    again = loop.said("job", job_id[:12])
    assert (again.code, "nothing to do: it is failed" in again.out) == (0, True)
    unknown = loop.said("job", "0123abcd")
    assert unknown.code == 2
    assert f"0 begin so; wanted one; the newest are {job_id[:12]} (retrain, failed)" in unknown.err
    hub.close()


def test_a_fault_is_not_hidden_by_a_refusal(loop, tmp_path, monkeypatch):
    config = make_config(tmp_path)
    loop.write(config)
    hub = loop.hub()
    refused = end_job(hub, config.products[0], JobKind.RETRAIN, JobState.REFUSED)
    hub.close()
    done = once.Once((refused,), ("plate on line-1: is gone",))
    monkeypatch.setattr(once, "train_if_due", lambda *_: done)
    assert loop.said("--if-due").code == 3


def test_a_step_outside_a_jobs_folder_is_refused(tmp_path):
    said = inspection("retrain", "step", tmp_path, "train")
    assert said.code == 2
    assert "no folder of a job" in said.err
    assert "wanted one of" in inspection("retrain", "step", tmp_path, "bake").err


def test_retraining_wants_a_word(loop):
    said = loop.said()
    assert said.code == 2
    assert "--if-due" in said.err


def test_a_hub_with_retraining_beside_it_speaks_for_the_policy_and_ends_in_order(loop, tmp_path):
    loop.write(make_config(tmp_path, policy={"allowed": "nothing"}))
    hub = loop.hub()
    secret = "correct horse battery"
    new = NewAccount(account="ann", role=Role.VIEWER, password=SecretStr(secret))
    add_account(hub, new, "test")
    hub.close()
    files = "--config", tmp_path / "hub.yaml", "--retraining", tmp_path / "retraining.yaml"
    process = start(["hub", "serve", *files], tmp_path)
    url, until = f"http://127.0.0.1:{loop.config.port}", time.monotonic() + 60
    try:
        while time.monotonic() < until and process.poll() is None:
            try:
                login = httpx.post(f"{url}/v1/session", json={"account": "ann", "password": secret})
                break
            except httpx.TransportError:
                time.sleep(0.1)
        token = login.json()["token"]
        said = httpx.get(f"{url}/v1/policy", headers={"Authorization": f"Bearer {token}"}).json()
        process.send_signal(signal.SIGTERM)
        ended = finish(process)
    finally:
        process.kill()
        process.wait()
    assert [one["due"] for one in said] == ["retrain"]
    assert ended.code == 0
    assert "hub ended" in ended.err
