"""The commands of the hub: people, stations, audit and backup from the command line."""

import json
from pathlib import Path

import pytest
import yaml
from sqlalchemy import update

from inspection.core.config import load_config
from inspection.hub.audit import note
from inspection.hub.hub import open_hub
from inspection.hub.settings import HubConfig
from inspection.hub.tables import audit
from tests.command import Said, done, inspection

SHIPPED = Path(__file__).parents[1] / "configs/hub.yaml"


class Desk:
    """A hub's configuration in a folder, and its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.config = HubConfig(
            database=f"sqlite:///{folder}/hub.sqlite",
            artefacts=str(folder / "artefacts"),
            cache_dir=folder / "cache",
        )
        kept = self.config.model_dump(mode="json", exclude_defaults=True)
        (folder / "hub.yaml").write_text(yaml.safe_dump(kept))
        (folder / "password").write_text("correct horse battery\nsecond line\n")

    def words(self, *arguments: object) -> list[object]:
        """Give the words of a command that works on this hub."""
        return ["hub", *arguments, "--config", self.folder / "hub.yaml"]

    def done(self, *arguments: object) -> Said:
        """Run a command that has to end well."""
        return done(*self.words(*arguments))

    def said(self, *arguments: object) -> Said:
        """Run a command."""
        return inspection(*self.words(*arguments))

    def json(self, *arguments: object):
        """Run a command that has to end well; give its JSON."""
        return json.loads(self.done(*arguments, "--json").out)


@pytest.fixture
def desk(tmp_path) -> Desk:
    return Desk(tmp_path / "hub")


def test_the_shipped_file_states_every_default():
    assert load_config(SHIPPED, HubConfig) == HubConfig()
    text = SHIPPED.read_text(encoding="utf-8")
    assert [key for key in HubConfig.model_fields if f"\n{key}:" not in text] == []
    lines = text.splitlines()
    keys = [i for i, line in enumerate(lines) if line[:1].isalpha()]
    assert [lines[i] for i in keys if not lines[i - 1].startswith("#")] == []


def test_people_are_let_in_and_out(desk):
    password = ("--password-file", desk.folder / "password")
    added = desk.json("account", "add", "ann-e", "--role", "admin", *password)
    assert (added["account"], added["role"], added["local"]) == ("ann-e", "admin", True)
    desk.done("account", "add", "bob", "--role", "viewer", "--oidc")
    changed = desk.json("account", "change", "bob", "--role", "engineer", "--disable")
    assert changed["role"] == "engineer"
    assert changed["disabled_at"] is not None
    assert desk.json("account", "change", "bob", "--enable", *password)["local"]
    table = desk.done("account", "list").out
    assert [line.split() for line in table.splitlines()][1:] == [
        ["ann-e", "admin", "password", "enabled"],
        ["bob", "engineer", "password", "enabled"],
    ]
    last = desk.said("account", "change", "ann-e", "--disable")
    assert (last.code, "last admin" in last.err) == (2, True)
    exported = desk.done("audit", "export").out
    assert "correct horse" not in exported
    assert {json.loads(line)["actor"] for line in exported.splitlines()} == {"command line"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("account", "add", "a/b", "--role", "viewer", "--oidc"), "account: "),
        (("account", "add", "ann", "--role", "king", "--oidc"), "role: "),
        (("account", "add", "ann", "--role", "viewer", "--password-file", "none"), "no password"),
        (("account", "change", "nobody", "--disable"), "is not there"),
        (("station", "enrol", "..\\x", "--line", "l"), "station: "),
        (("station", "rotate", "nobody"), "is not enrolled"),
        (("station", "revoke", "nobody", "1"), "has no token"),
        (("restore", "nowhere"), "no backup's manifest"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, tuple) else "",
)
def test_wrong_words_end_with_2_and_one_line(desk, words, said):
    ended = desk.said(*words)
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_a_short_password_is_refused_and_not_repeated(desk):
    (desk.folder / "password").write_text("hunter2")
    file = ("--password-file", desk.folder / "password")
    ended = desk.said("--debug", "account", "add", "ann", "--role", "viewer", *file)
    assert ended.code == 2
    assert "at least 12" in ended.err
    assert "hunter2" not in ended.err


def test_a_password_is_no_argument(desk):
    for word in ("--password", "--new-password"):
        ended = desk.said("account", "add", "ann", "--role", "viewer", word, "hunter2")
        assert ended.code == 2


def test_stations_are_let_in_and_out(desk):
    first = desk.json("station", "enrol", "press 4", "--line", "line-1")
    second = desk.done("station", "rotate", "press 4").out
    assert second.splitlines()[1] == "token 2 of press 4; nobody can read it again"
    assert len(second.splitlines()[0]) == 43
    desk.done("station", "revoke", "press 4", first["id"])
    listed = desk.done("station", "list").out
    assert [line.split()[-1] for line in listed.splitlines()] == ["state", "revoked", "holds"]
    assert first["token"] not in listed


def test_a_damaged_audit_log_ends_with_1(desk):
    opened = open_hub(desk.config)
    for _ in range(2):
        with opened.database.writing() as connection:
            note(connection, opened.now(), "ann", "thing do", "part")
    sound = desk.done("audit", "verify").out
    head = sound.split()[-1]
    assert sound == f"2 entries, sound\nhead {head}\n"
    assert desk.json("audit", "verify", "--head", head)["sound"]
    assert desk.said("audit", "verify", "--head", "0" * 63 + "1").code == 1
    with opened.database.writing() as connection:
        connection.execute(update(audit).where(audit.c.id == 2).values(actor="bob"))
    opened.close()
    ended = desk.said("audit", "verify")
    assert ended.code == 1
    assert "NOT sound: entry 2: was changed" in ended.out


def test_a_backup_fills_another_hub(desk, tmp_path):
    desk.done("station", "enrol", "press", "--line", "line-1")
    made = desk.done("backup", tmp_path / "backup").out
    other = Desk(tmp_path / "other")
    assert other.done("restore", tmp_path / "backup").out == made
    assert "press" in other.done("station", "list").out
    assert other.done("audit", "verify", "--head", made.split()[-1]).code == 0
    again = other.said("restore", tmp_path / "backup")
    assert (again.code, "restore into an empty hub only" in again.err) == (2, True)


def test_retention_says_what_it_took(desk):
    assert desk.done("retention").out == "deleted: 0 events, 0 pictures, 0 files\n"


def test_a_bundle_that_is_none_is_refused(desk, tmp_path):
    (tmp_path / "empty").mkdir()
    assert desk.said("bundle", "add", tmp_path / "empty").code == 1
    unknown = desk.said("bundle", "choose", "line-1", "a" * 64, "--why", "glare")
    assert unknown.code == 2
