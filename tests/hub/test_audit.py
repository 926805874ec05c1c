"""The audit log: nothing is changed, deleted or added without it being seen."""

import json
import threading
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from sqlalchemy import delete, insert, update

from inspection.hub.asking import Refused
from inspection.hub.audit import (
    BATCH,
    GENESIS,
    entry_hash,
    export_entries,
    list_entries,
    note,
    verify_audit,
)
from inspection.hub.tables import audit
from inspection.hub.wire.people import Role

THEN = datetime(2026, 1, 1, tzinfo=UTC)


def fill(hub, count: int, actor: str = "ann") -> None:
    for number in range(count):
        with hub.database.writing() as connection:
            note(connection, hub.now(), actor, "thing do", f"part {number}", why="été")


def test_an_untouched_chain_is_sound(hub):
    assert verify_audit(hub).model_dump() == {
        "entries": 0,
        "sound": True,
        "head": GENESIS,
        "problem": "",
    }
    fill(hub, 3)
    check = verify_audit(hub)
    assert (check.entries, check.sound, check.problem) == (3, True, "")
    assert check.head == list(export_entries(hub))[-1].sha256


def damage_changed(connection):
    connection.execute(update(audit).where(audit.c.id == 3).values(actor="nobody"))


def damage_later(connection):
    connection.execute(update(audit).where(audit.c.id == 3).values(detail="{}"))


def damage_deleted(connection):
    connection.execute(delete(audit).where(audit.c.id == 3))


def damage_first_deleted(connection):
    connection.execute(delete(audit).where(audit.c.id == 1))


def damage_swapped(connection):
    for old, new in ((3, 100), (4, 3), (100, 4)):
        connection.execute(update(audit).where(audit.c.id == old).values(id=new))


def damage_inserted(connection):
    for old in (5, 4, 3):
        connection.execute(update(audit).where(audit.c.id == old).values(id=old + 1))
    row = {"id": 3, "actor": "x", "action": "y", "subject": "z", "detail": "{}", "previous": "0"}
    connection.execute(insert(audit).values(**row, at=THEN, sha256="1"))


def damage_rehashed(connection):
    """Changes an entry together with its own hash."""
    row = connection.execute(audit.select().where(audit.c.id == 3)).one()._asdict()
    del row["sha256"]
    row["actor"] = "nobody"
    connection.execute(
        update(audit).where(audit.c.id == 3).values(actor="nobody", sha256=entry_hash(row))
    )


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (damage_changed, "entry 3: was changed"),
        (damage_later, "entry 3: was changed"),
        (damage_deleted, "entry 3: is missing"),
        (damage_first_deleted, "entry 1: is missing"),
        (damage_swapped, "entry 3: does not follow"),
        (damage_inserted, "entry 3: does not follow"),
        (damage_rehashed, "entry 4: does not follow"),
    ],
    ids=["actor", "detail", "deleted", "first deleted", "swapped", "inserted", "rehashed"],
)
def test_damage_is_found_where_it_begins(sqlite_hub, damage, problem):
    fill(sqlite_hub, 5)
    with sqlite_hub.database.writing() as connection:
        damage(connection)
    check = verify_audit(sqlite_hub)
    assert not check.sound
    assert check.problem.startswith(problem)


def test_a_cut_end_is_found_by_a_hash_written_down_elsewhere(sqlite_hub):
    fill(sqlite_hub, 3)
    head = verify_audit(sqlite_hub).head
    fill(sqlite_hub, 2)
    assert verify_audit(sqlite_hub, head).sound
    with sqlite_hub.database.writing() as connection:
        connection.execute(delete(audit).where(audit.c.id >= 3))
    assert verify_audit(sqlite_hub).sound
    check = verify_audit(sqlite_hub, head)
    assert not check.sound
    assert check.problem == f"no entry has the hash {head}: the end was cut, or all made anew"


def test_two_hubs_that_append_at_once_neither_fork_nor_lose(make_hub, database_url):
    hubs = [make_hub(database_url) for _ in range(2)]
    threads = [
        threading.Thread(target=fill, args=(hub, 20, f"hub {number}"))
        for number, hub in enumerate([*hubs, *hubs])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    check = verify_audit(hubs[0])
    assert (check.entries, check.sound) == (80, True)
    assert {entry.actor for entry in export_entries(hubs[1])} == {f"hub {n}" for n in range(4)}


def test_what_is_undone_leaves_no_entry(sqlite_hub):
    fill(sqlite_hub, 1)
    with suppress(RuntimeError), sqlite_hub.database.writing() as connection:
        note(connection, sqlite_hub.now(), "ann", "thing do", "part")
        raise RuntimeError
    fill(sqlite_hub, 1)
    assert (verify_audit(sqlite_hub).entries, verify_audit(sqlite_hub).sound) == (2, True)


def test_pages_go_from_the_newest_to_the_first_without_gap(sqlite_hub):
    fill(sqlite_hub, 5)
    pages = [list_entries(sqlite_hub, None, 2)]
    while pages[-1].next is not None:
        fill(sqlite_hub, 1)  # what comes meanwhile does not shift the pages behind
        pages.append(list_entries(sqlite_hub, int(pages[-1].next), 2))
    assert [[entry.id for entry in page.items] for page in pages] == [[5, 4], [3, 2], [1]]


def test_more_entries_than_one_batch_are_checked(sqlite_hub):
    rows, previous = [], GENESIS
    for number in range(1, BATCH + 3):
        row = {"id": number, "actor": "a", "action": "b", "subject": "c", "detail": "{}"}
        row |= {"at": THEN, "previous": previous}
        previous = entry_hash(row)
        rows.append({**row, "sha256": previous})
    with sqlite_hub.database.writing() as connection:
        connection.execute(insert(audit), rows)
    assert (verify_audit(sqlite_hub).entries, verify_audit(sqlite_hub).head) == (
        BATCH + 2,
        previous,
    )


def test_everybody_with_an_account_reads_the_log(sqlite_plant):
    viewer = sqlite_plant.person(Role.VIEWER, "ann")
    page = viewer.audit(limit=1)
    assert [entry.action for entry in page.items] == ["session begin"]
    (before,) = viewer.audit(after=page.next).items
    assert (before.action, before.detail) == ("account add", {"role": "viewer"})
    assert viewer.verify_audit().sound
    with pytest.raises(Refused, match="after"):
        viewer.audit(after="1; DROP TABLE audit")
    with pytest.raises(Refused, match="limit"):
        viewer.audit(limit=501)
    assert json.loads(before.model_dump_json())["previous"] == GENESIS
