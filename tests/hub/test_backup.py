"""Backup and restore: all of it, one state, on either database, and nothing that was touched."""

import hashlib
import json
import os
import shutil
import stat
import threading
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select

from inspection.bundles.signing import own_keys
from inspection.core.errors import ConfigError
from inspection.hub import backup
from inspection.hub.accounts import add_account, log_in
from inspection.hub.artefacts import bundle_file_name, picture_name
from inspection.hub.audit import note, verify_audit
from inspection.hub.backup import back_up, restore
from inspection.hub.stations import enrol, rotate
from inspection.hub.tables import (
    audit,
    bundles,
    corrections,
    events,
    hours,
    metadata,
    pictures,
    reviews,
    sessions,
)
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.people import Login, NewAccount, Role
from tests.hub.conftest import NUMBERS, PASSWORD

PNG = {"a" * 64: b"a picture", "b" * 64: b"a mask", "c" * 64: b"another"}
BUNDLE = "d" * 64


def fill(hub) -> None:
    """Put something odd into the tables and the store."""
    add_account(
        hub, NewAccount(account="ann@a.example", role=Role.ADMIN, password=PASSWORD), "test"
    )
    log_in(hub, Login(account="ann@a.example", password=PASSWORD))
    enrol(hub, NewStation(station="press", line="line-1"), "test")
    now = hub.now()
    common = {"line": "line-1", "station": "press", "part_id": "p", "product": "x"}
    common |= {"camera": "main", "bundle_id": "", "verdict": "PASS"}
    common |= {"captured_at": now, "received_at": now, "latency_ms": 0.1 + 0.2}
    about = [
        {**common, "event_id": f"e{n}", "sequence": 2**40 + n, "score": score, "record": text}
        for n, (score, text) in enumerate([(None, "{}"), (1e-300, '"a\\nb\u2028c\x85"')])
    ]
    by = {"reviewer": "ann", "at": now, "revision": 1}
    picture = {"kind": "image/png", "bytes": 9, "height_px": 1, "width_px": 2}
    with hub.database.writing() as connection:
        connection.execute(insert(events), about)
        connection.execute(
            insert(pictures),
            [
                {**picture, "event_id": "e0", "name": "a.png", "sha256": "a" * 64},
                {**picture, "event_id": "e1", "name": "a.png", "sha256": "a" * 64},
                {**picture, "event_id": "e1", "name": "b.png", "sha256": "e" * 64},
            ],
        )
        connection.execute(
            insert(reviews).values(
                **by,
                event_id="e0",
                line="l",
                second=True,
                decision="defect",
                defect=None,
                comment="",
            )
        )
        connection.execute(
            insert(corrections).values(**by, event_id="e1", camera="main", sha256="b" * 64)
        )
        connection.execute(
            insert(bundles).values(
                bundle_id=BUNDLE, name="x", created_at=now, received_at=now, card="{}", gate="{}"
            )
        )
    for sha256, content in PNG.items():
        hub.artefacts.put(picture_name(sha256), content)
    hub.artefacts.put(bundle_file_name(BUNDLE, "graph/model.bin"), b"weights")


def rows(hub) -> dict[str, list]:
    """Give all rows of all tables but the audit log and sessions."""
    with hub.database.reading() as connection:
        return {
            table.name: sorted(map(str, connection.execute(select(table))))
            for table in metadata.sorted_tables
            if table not in (audit, sessions)
        }


@pytest.fixture(params=["sqlite", "postgresql"])
def other_url(request, empty_sqlite, tmp_path) -> str:
    """Another empty database of each kind."""
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres")
        return server.create(f"hub_{next(NUMBERS)}_{os.getpid()}", "template_hub")
    shutil.copy(empty_sqlite, tmp_path / "other.sqlite")
    return f"sqlite:///{tmp_path}/other.sqlite"


def test_a_hub_moves_from_either_database_to_either(hub, make_hub, other_url, tmp_path):
    fill(hub)
    contents = back_up(hub, tmp_path / "backup", "ann")
    assert (contents.artefacts.lines, contents.missing) == (3, 1)  # of c no row tells, e is gone
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700

    other = make_hub(other_url, artefacts=str(tmp_path / "other"))
    restore(other, tmp_path / "backup", "bob")

    assert rows(other) == rows(hub)
    check = verify_audit(other, contents.audit_head)
    assert check.sound, check.problem
    with other.database.reading() as connection:
        assert connection.execute(select(sessions)).all() == []
        last = connection.execute(select(audit).order_by(audit.c.id.desc()).limit(1)).one()
    assert (last.actor, last.action) == ("bob", "backup restore")
    assert other.artefacts.get(picture_name("b" * 64)) == b"a mask"
    assert other.artefacts.get(bundle_file_name(BUNDLE, "graph/model.bin")) == b"weights"
    assert log_in(other, Login(account="ann@a.example", password=PASSWORD)).role is Role.ADMIN
    assert rotate(other, "press", "bob").id == 2  # numbers go on behind those that are there


def test_a_backup_is_of_one_moment_though_the_hub_goes_on(hub, tmp_path, monkeypatch):
    """What comes between two tables is in none of them: parts and counts never disagree."""
    added = threading.Event()

    def add() -> None:
        fill(hub)
        added.set()

    whole = backup._rows

    def slow(connection, table):
        yield from whole(connection, table)
        if table.name == "accounts":  # the transaction reads, so it has begun
            thread = threading.Thread(target=add)
            thread.start()
            thread.join(30)

    monkeypatch.setattr(backup, "_rows", slow)
    contents = back_up(hub, tmp_path / "backup", "ann")
    assert added.is_set()
    filled = {name for name, part in contents.tables.items() if part.lines}
    assert filled == set()
    assert contents.artefacts.lines == 0


def test_nothing_is_restored_over_something(sqlite_hub, make_hub, other_url, tmp_path):
    fill(sqlite_hub)
    back_up(sqlite_hub, tmp_path / "backup", "ann")
    other = make_hub(other_url, artefacts=str(tmp_path / "other"))
    with other.database.writing() as connection:
        note(connection, other.now(), "x", "y", "z")
    with pytest.raises(ConfigError, match="there are audit already"):
        restore(other, tmp_path / "backup", "bob")
    with other.database.reading() as connection:
        assert connection.execute(select(func.count()).select_from(events)).scalar() == 0
    assert list(other.artefacts.names("")) == []


def change_row(folder):
    path = folder / "tables/accounts.jsonl"
    path.write_text(path.read_text().replace("admin", "viewer"))


def change_artefact(folder):
    (folder / "artefacts" / picture_name("a" * 64)).write_bytes(b"b picture")


def forge_artefact(folder):
    change_artefact(folder)
    path, name = folder / "artefacts.jsonl", picture_name("a" * 64)
    sha256 = hashlib.sha256(b"b picture").hexdigest()
    lines = map(json.loads, path.read_text().splitlines())
    forged = [one | {"sha256": sha256} if one["name"] == name else one for one in lines]
    path.write_text("".join(json.dumps(one) + "\n" for one in forged))


def lose_artefact(folder):
    (folder / "artefacts" / picture_name("a" * 64)).unlink()


def change_manifest(folder, **changes):
    path = folder / "manifest.json"
    signed = json.loads(path.read_text())
    signed["text"] = json.dumps(json.loads(signed["text"]) | changes)
    path.write_text(json.dumps(signed))


def lose_manifest(folder):
    (folder / "manifest.json").unlink()


def escape(folder):
    """Names an artefact outside of the store, with hashes that fit."""
    path = folder / "artefacts.jsonl"
    line = {"name": f"bundles/{BUNDLE}/../../../evil", "bytes": 1, "sha256": "0" * 64}
    path.write_text(json.dumps(line) + "\n")
    contents = {"lines": 1, "sha256": backup.hash_file(path)}
    change_manifest(folder, artefacts=contents)


def promote(folder):
    """Makes everybody an admin, with hashes and a manifest that fit."""
    path = folder / "tables" / "accounts.jsonl"
    rows = [json.loads(line) | {"role": "admin"} for line in path.read_text().split("\n") if line]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = json.loads((folder / "manifest.json").read_text())["text"]
    tables = json.loads(text)["tables"]
    tables["accounts"]["sha256"] = backup.hash_file(path)
    change_manifest(folder, tables=tables)


def test_backup_of_another_machine_is_restored_only_when_its_key_is_named(
    sqlite_hub, make_hub, empty_sqlite, tmp_path, monkeypatch
):
    fill(sqlite_hub)
    back_up(sqlite_hub, tmp_path / "backup", "ann")
    (theirs,) = (key for key in own_keys() if key.startswith("backup:"))
    shutil.copy(empty_sqlite, tmp_path / "other.sqlite")
    other = make_hub(
        f"sqlite:///{tmp_path}/other.sqlite", artefacts=str(tmp_path / "place" / "other")
    )
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "another machine"))
    with pytest.raises(ConfigError, match=r"not among the trusted keys.*named by --trusted-key"):
        restore(other, tmp_path / "backup", "bob")
    restore(other, tmp_path / "backup", "bob", (theirs,))


def test_nobody_but_the_owner_reads_a_backup_or_the_database(sqlite_hub, tmp_path):
    fill(sqlite_hub)
    back_up(sqlite_hub, tmp_path / "backup", "ann")
    found = [tmp_path / "backup", *(tmp_path / "backup").rglob("*")]
    assert {path.stat().st_mode & 0o077 for path in found} == {0}
    database = Path(sqlite_hub.database._engine.url.database)
    beside = list(database.parent.glob(f"{database.name}*"))
    assert {path.stat().st_mode & 0o777 for path in beside} == {0o600}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (promote, "signature does not fit its content as a backup"),
        (change_row, r"accounts\.jsonl: differs"),
        (change_artefact, "aaa: differs"),
        (lose_artefact, "No such file"),
        (lose_manifest, "no backup's manifest"),
        (escape, "signature does not fit its content as a backup"),
        (lambda folder: change_manifest(folder, revision="0000"), "signature does not fit"),
        (lambda folder: change_manifest(folder, tables={}), "signature does not fit"),
        (lambda folder: change_manifest(folder, audit_head="x"), "signature does not fit"),
    ],
    ids=[
        "role",
        "row",
        "artefact",
        "lost artefact",
        "no manifest",
        "escape",
        "revision",
        "tables",
        "head",
    ],
)
def test_a_backup_that_was_touched_is_refused_whole(
    sqlite_hub, make_hub, empty_sqlite, tmp_path, damage, said
):
    fill(sqlite_hub)
    back_up(sqlite_hub, tmp_path / "backup", "ann")
    damage(tmp_path / "backup")
    shutil.copy(empty_sqlite, tmp_path / "other.sqlite")
    other = make_hub(
        f"sqlite:///{tmp_path}/other.sqlite", artefacts=str(tmp_path / "place" / "other")
    )
    with pytest.raises(ConfigError, match=said):
        restore(other, tmp_path / "backup", "bob")
    assert not any(rows(other).values())
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (change_row, r"accounts\.jsonl: differs"),
        (change_artefact, "aaa: differs"),
        (forge_artefact, r"artefacts\.jsonl: differs"),
    ],
    ids=["row", "artefact", "artefact and its hash"],
)
def test_a_backup_that_changes_after_it_was_verified_is_refused(
    sqlite_hub, make_hub, empty_sqlite, tmp_path, monkeypatch, damage, said
):
    """A share is another machine's: what is loaded is what was signed."""
    fill(sqlite_hub)
    back_up(sqlite_hub, tmp_path / "backup", "ann")
    shutil.copy(empty_sqlite, tmp_path / "other.sqlite")
    other = make_hub(
        f"sqlite:///{tmp_path}/other.sqlite", artefacts=str(tmp_path / "place" / "other")
    )
    own = backup.hash_file

    def hash_and_change(path):
        found = own(path)
        if path.name == "a" * 64:  # all else was verified before
            damage(tmp_path / "backup")
        return found

    monkeypatch.setattr(backup, "hash_file", hash_and_change)
    with pytest.raises(ConfigError, match=said):
        restore(other, tmp_path / "backup", "bob")
    assert not any(rows(other).values())
    kept = [
        path.read_bytes() for path in (tmp_path / "place" / "other").rglob("*") if path.is_file()
    ]
    assert b"b picture" not in kept


def test_a_backup_never_overwrites_one(sqlite_hub, tmp_path):
    back_up(sqlite_hub, tmp_path / "backup", "ann")
    with pytest.raises(ConfigError, match="is there already"):
        back_up(sqlite_hub, tmp_path / "backup", "ann")


def test_a_backup_that_fails_leaves_no_folder_that_looks_whole(sqlite_hub, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="look at disk and rights"):
        back_up(sqlite_hub, tmp_path / "file" / "backup", "ann")


def test_rows_are_read_and_written_in_batches(sqlite_hub, make_hub, empty_sqlite, tmp_path):
    """More rows than one batch holds come over, in order."""
    now, count = sqlite_hub.now(), 2 * backup.BATCH + 7
    row = {"line": "l", "hour": now, "product": "p", "bundle_id": "", "verdict": "PASS", "parts": 1}
    row |= dict.fromkeys(("latency_sum_ms", "latency_most_ms", "score_sum", "score_squares"), 0.5)
    with sqlite_hub.database.writing() as connection:
        connection.execute(
            insert(hours), [{**row, "scores": n, "station": f"s{n}"} for n in range(count)]
        )
    assert back_up(sqlite_hub, tmp_path / "backup", "ann").tables["hours"].lines == count
    shutil.copy(empty_sqlite, tmp_path / "other.sqlite")
    other = make_hub(f"sqlite:///{tmp_path}/other.sqlite", artefacts=str(tmp_path / "other"))
    restore(other, tmp_path / "backup", "bob")
    assert rows(other) == rows(sqlite_hub)
