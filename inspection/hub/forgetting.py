"""Lets pictures never teach anything again, and says what they have taught.

A forgotten picture is a hash that no later job learns from. Bundles that learnt from it are named
and challenge nobody any more; one that judges goes on, because a line without a bundle judges
nothing, and the overview says that it is to be trained again. So do thresholds that were fitted on
its part, until they are fitted again. Pictures themselves go with retention.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sqlalchemy import Connection, select

from inspection.bundles.bundle import CARD
from inspection.bundles.saving import load_arrays
from inspection.core.records import Card, Manifest, Split, parse_record
from inspection.hub.artefacts import Artefacts, bundle_file_name
from inspection.hub.audit import note
from inspection.hub.challengers import POLICY, withdraw_all
from inspection.hub.database import insert_new
from inspection.hub.hub import Hub
from inspection.hub.loop_tables import challengers, forgotten
from inspection.hub.refits import tainted_refits
from inspection.hub.tables import bundles
from inspection.hub.wire.retraining import OPEN, Forgotten, NewForgotten

MANIFEST, BANK = "manifest.json", "bank.npz"
AT_ONCE = 500  # hashes of one question to the database
KEPT = 64  # bundles whose lessons stay in memory


class Lessons:
    """Which pictures a bundle was made of: fitted, calibrated and tested on."""

    def __init__(self, manifest: Manifest, vectors: dict[str, int]) -> None:
        self.sha256s = frozenset(entry.sha256 for entry in manifest.entries)
        self.vectors = vectors
        """Of the bundle's bank, by picture."""


def forget(hub: Hub, new: NewForgotten, who: str) -> Forgotten:
    """Let a picture never teach anything again; the same once more changes nothing.

    Challengers that learnt from it are withdrawn with it, or nothing is changed at all.
    """
    now = hub.now()
    row = {"sha256": new.sha256, "at": now, "who": who, "why": new.comment}
    taught = _taught(hub, {new.sha256})
    words = f"It learnt from picture {new.sha256[:12]}, which was forgotten."
    with hub.database.writing() as connection:
        if insert_new(connection, forgotten, [row], "sha256"):
            note(connection, now, who, "picture forget", new.sha256, why=new.comment)
        withdrawn = withdraw_all(connection, hub, taught, who, words)
    if withdrawn:
        hub.news.ring()
    return next(one for one in list_forgotten(hub) if one.sha256 == new.sha256)


def withdraw_forgotten(hub: Hub) -> int:
    """Withdraw challengers that came after something they learnt from had been forgotten.

    A job may have begun before, and asked whether it may go on just before the picture was
    forgotten; whoever looks at everything now and then calls this.
    """
    with hub.database.reading() as connection:
        gone = set(connection.execute(select(forgotten.c.sha256)).scalars())
        open_ids = select(challengers.c.bundle_id).where(challengers.c.state.in_(OPEN))
        ids = connection.execute(open_ids).scalars().all() if gone else []
    taught = {one for one in ids if gone & _lessons(hub.artefacts, one).sha256s}
    if not taught:
        return 0
    with hub.database.writing() as connection:
        words = "It learnt from a picture that was forgotten."
        withdrawn = withdraw_all(connection, hub, taught, POLICY, words)
    hub.news.ring()
    return withdrawn


def list_forgotten(hub: Hub) -> tuple[Forgotten, ...]:
    """List what was forgotten, the newest first, with what had come from it."""
    newest = select(forgotten).order_by(forgotten.c.at.desc(), forgotten.c.sha256)
    with hub.database.reading() as connection:
        rows = connection.execute(newest).all()
        known = select(bundles.c.bundle_id).order_by(bundles.c.created_at.desc())
        ids = connection.execute(known).scalars().all() if rows else []
        refits = tainted_refits(connection) if rows else ()
    lessons = {bundle_id: _lessons(hub.artefacts, bundle_id) for bundle_id in ids}
    return tuple(
        Forgotten(
            **row._mapping,
            bundles=tuple(one for one, its in lessons.items() if row.sha256 in its.sha256s),
            vectors=sum(its.vectors.get(row.sha256, 0) for its in lessons.values()),
            thresholds=tuple(one.record.sha256 for one in refits if row.sha256 in one.sha256s),
        )
        for row in rows
    )


def learnt_forgotten(hub: Hub, manifest: Manifest) -> int:
    """Count the pictures of a set that are forgotten by now."""
    with hub.database.reading() as connection:
        return len(_forgotten_of(connection, sorted({one.sha256 for one in manifest.entries})))


def tainted(hub: Hub, bundle_ids: Iterable[str]) -> dict[str, int]:
    """Count the forgotten pictures that bundles were made of; those without are left out."""
    with hub.database.reading() as connection:
        gone = set(connection.execute(select(forgotten.c.sha256)).scalars())
    if not gone:
        return {}
    counts = {one: len(gone & _lessons(hub.artefacts, one).sha256s) for one in bundle_ids}
    return {one: count for one, count in counts.items() if count}


def _taught(hub: Hub, sha256s: Collection[str]) -> set[str]:
    """Give the bundles that were made of any of these pictures."""
    with hub.database.reading() as connection:
        ids = connection.execute(select(bundles.c.bundle_id)).scalars().all()
    return {one for one in ids if not _lessons(hub.artefacts, one).sha256s.isdisjoint(sha256s)}


def _forgotten_of(connection: Connection, sha256s: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for first in range(0, len(sha256s), AT_ONCE):
        some = sha256s[first : first + AT_ONCE]
        query = select(forgotten.c.sha256).where(forgotten.c.sha256.in_(some))
        found |= set(connection.execute(query).scalars())
    return found


@lru_cache(KEPT)
def _lessons(artefacts: Artefacts, bundle_id: str) -> Lessons:
    """Read what a bundle was made of; a bundle never changes."""

    def read(path: str) -> bytes:
        return artefacts.get(bundle_file_name(bundle_id, path))

    name = f"bundle {bundle_id[:12]}"
    try:
        manifest = parse_record(read(MANIFEST).decode(), Manifest, name)
    except KeyError:  # made before bundles held their manifest
        manifest = Manifest(root="", layout="plain", entries=())
    try:
        bank = read(BANK)
    except KeyError:  # no PatchCore, or made before banks were kept
        return Lessons(manifest, {})
    card = parse_record(read(CARD).decode(), Card, name)
    return Lessons(manifest, _vectors(bank, manifest, card.geometry.tiles))


def _vectors(bank: bytes, manifest: Manifest, per_part: int) -> dict[str, int]:
    """Count a bank's vectors by the picture they came from."""
    with TemporaryDirectory() as place:
        path = Path(place, BANK)
        path.write_bytes(bank)
        tiles = load_arrays(path)["tile"]
    fitted = manifest.of(Split.FIT)
    images, counts = np.unique(tiles // per_part, return_counts=True)
    return {
        fitted[image].sha256: count
        for image, count in zip(images.tolist(), counts.tolist(), strict=True)
    }
