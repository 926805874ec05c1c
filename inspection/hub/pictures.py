"""Keeps the pictures of events by the hash of their bytes, and gives them, smaller if asked."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
from sqlalchemy import Connection, Row, select

from inspection.core.errors import ConfigError, ImageError, ImageTooLarge, InspectionError
from inspection.core.imaging import Header, Rgb, decode_image, read_header, resize
from inspection.hub.artefacts import picture_name
from inspection.hub.database import insert_new
from inspection.hub.hub import Hub
from inspection.hub.ingest import Sender
from inspection.hub.refusals import Foreign, NoPicture, NotThere, Standing, TooLarge
from inspection.hub.tables import events, pictures

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"  # a plain file name, as stations give them
MPX = 1_000_000
JPEG_QUALITY = 88  # of smaller pictures; scratches stay visible, at a tenth of the bytes


@dataclass(frozen=True)
class SentPicture:
    """A picture as it came; the hash is of the bytes, as counted here."""

    event_id: str
    name: str
    content: bytes
    sha256: str


Brought = tuple[Sender, SentPicture]


def keep_picture(hub: Hub, sender: Sender, sent: SentPicture) -> None:
    """Keep a picture of a stored event, durably; the same again changes nothing.

    Raises:
        ConfigError: its name is no plain file name.
        NotThere: the event is not stored.
        Foreign: it is another station's.
        NoPicture: not PNG, JPEG, BMP or TIFF by content.
        TooLarge: more pixels than the hub takes, by its header.
        Standing: the event has another picture of this name.
        HubError: database or store does not take it.
    """
    if (refusal := keep_pictures(hub, [(sender, sent)])[0]) is not None:
        raise refusal


def keep_pictures(hub: Hub, lot: Sequence[Brought]) -> list[InspectionError | None]:
    """Keep several pictures as `keep_picture` does, in one transaction.

    Returns:
        Why each was refused, in order; none for those that are durable.

    Raises:
        HubError: database or store does not take them.
    """
    refusals: list[InspectionError | None] = [None] * len(lot)
    rows: dict[int, dict[str, Any]] = {}
    with hub.database.reading() as connection:
        stations, hashes = _known(connection, lot)
    for number, (sender, sent) in enumerate(lot):
        try:
            _require_event(sender, sent, stations.get(sent.event_id))
            if not _is_here(sent, hashes):
                rows[number] = _row(hub, sent)
        except InspectionError as error:
            refusals[number] = error
    if not rows:
        return refusals
    files = {picture_name(lot[n][1].sha256): lot[n][1].content for n in rows}
    hub.artefacts.put_all(files)
    new = list(rows.values())
    others = hub.database.writing_with_others(lambda connection: _insert(connection, new))
    hub.artefacts.put_all(files)  # retention may have deleted what no row named before the commit
    for number in rows:
        try:
            _is_here(lot[number][1], others)
        except Standing as error:
            refusals[number] = error
    return refusals


def find_picture(hub: Hub, event_id: str, name: str) -> Row[Any]:
    """Give the row of a picture.

    Raises:
        NotThere: there is none.
    """
    wanted = select(pictures).where(pictures.c.event_id == event_id, pictures.c.name == name)
    with hub.database.reading() as connection:
        row = connection.execute(wanted).one_or_none()
    if row is None:
        raise NotThere(f"event '{event_id[:128]}': has no picture '{name[:200]}' here")
    return row


def picture_bytes(hub: Hub, sha256: str) -> bytes:
    """Give the bytes of a picture.

    Raises:
        NotThere: retention took it meanwhile.
    """
    try:
        return hub.artefacts.get(picture_name(sha256))
    except KeyError:
        raise NotThere(f"picture {sha256[:12]}: is no longer here") from None


def smaller(encoded: bytes, side_px: int, name: str) -> bytes:
    """Give a picture as JPEG whose longer side has at most `side_px`; none is made larger.

    Args:
        encoded: PNG, JPEG, BMP or TIFF.
        side_px: from 1.
        name: stands in the error.

    Raises:
        ImageError: its bytes are damaged.
    """
    pixels: Rgb = decode_image(encoded, name)
    height_px, width_px = pixels.shape[:2]
    share = min(1.0, side_px / max(height_px, width_px))
    shown = resize(pixels, max(1, round(height_px * share)), max(1, round(width_px * share)))
    bgr = cv2.cvtColor(shown, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return jpeg.tobytes()


def _known(
    connection: Connection, lot: Sequence[Brought]
) -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    """Give the station of each event, and the hashes of the pictures they have."""
    ids = {sent.event_id for _, sent in lot}
    found = connection.execute(
        select(events.c.event_id, events.c.station, pictures.c.name, pictures.c.sha256)
        .join_from(events, pictures, pictures.c.event_id == events.c.event_id, isouter=True)
        .where(events.c.event_id.in_(ids))
    ).all()
    stations = {row.event_id: row.station for row in found}
    return stations, {(row.event_id, row.name): row.sha256 for row in found if row.name}


def _require_event(sender: Sender, sent: SentPicture, station: str | None) -> None:
    if not re.fullmatch(NAME, sent.name):
        raise ConfigError(f"picture {sent.name[:80]!r}: wanted a file name of A-Z a-z 0-9 . _ -")
    if station is None:
        raise NotThere(f"event '{sent.event_id[:128]}': is not stored; send it before its pictures")
    if station != sender.station:
        raise Foreign(f"event '{sent.event_id}': is not of station '{sender.station}'")


def _is_here(sent: SentPicture, hashes: Mapping[tuple[str, str], str]) -> bool:
    """Say whether this very picture is there.

    Raises:
        Standing: another one is, under its name.
    """
    stored = hashes.get((sent.event_id, sent.name))
    if stored not in {None, sent.sha256}:
        raise Standing(
            f"event '{sent.event_id}': has another picture '{sent.name}' already, which stays; "
            "give this one a name of its own"
        )
    return stored is not None


def require_picture(hub: Hub, content: bytes, name: str) -> Header:
    """Refuse what the hub does not take as a picture, by its header: no pixel is decoded.

    Raises:
        NoPicture: not PNG, JPEG, BMP or TIFF by content.
        TooLarge: more pixels than the hub takes.
    """
    most = hub.config.limits.picture_mpx
    try:
        header = read_header(content, name)
    except ImageTooLarge as error:
        raise TooLarge(str(error)) from error
    except ImageError as error:
        raise NoPicture(str(error)) from error
    if header.height_px * header.width_px > most * MPX:
        raise TooLarge(
            f"{name}: image is {header.height_px}×{header.width_px} px; wanted at most "
            f"{most:g} megapixels; limits.picture_mpx says so"
        )
    return header


def _row(hub: Hub, sent: SentPicture) -> dict[str, Any]:
    header = require_picture(hub, sent.content, sent.name)
    return {
        "event_id": sent.event_id,
        "name": sent.name,
        "sha256": sent.sha256,
        "kind": header.kind,
        "bytes": len(sent.content),
        "height_px": header.height_px,
        "width_px": header.width_px,
    }


def _insert(
    connection: Connection, rows: Sequence[Mapping[str, Any]]
) -> dict[tuple[str, str], str]:
    """Insert rows; give the hashes of what is there if somebody else has inserted one."""
    if len(insert_new(connection, pictures, rows, "name")) == len(rows):
        return {}
    ids = {row["event_id"] for row in rows}
    found = connection.execute(
        select(pictures.c.event_id, pictures.c.name, pictures.c.sha256).where(
            pictures.c.event_id.in_(ids)
        )
    )
    return {(row.event_id, row.name): row.sha256 for row in found}
