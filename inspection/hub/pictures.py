"""Keeps the pictures of events by the hash of their bytes, and gives them, smaller if asked."""

import re
from dataclasses import dataclass
from typing import Any

import cv2
from sqlalchemy import Connection, Row, select

from inspection.core.errors import ConfigError, ImageError, ImageTooLarge
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


def keep_picture(hub: Hub, sender: Sender, sent: SentPicture) -> None:
    """Keep a picture of a stored event, durably; the same again changes nothing.

    Raises:
        ConfigError: its name is no plain file name.
        NotThere: the event is not stored.
        Foreign: it is another station's.
        NoPicture: not PNG, JPEG, BMP or TIFF by content.
        TooLarge: more pixels than the hub takes, by its header.
        Standing: the event has another picture of this name.
    """
    if not re.fullmatch(NAME, sent.name):
        raise ConfigError(f"picture {sent.name[:80]!r}: wanted a file name of A-Z a-z 0-9 . _ -")
    with hub.database.reading() as connection:
        if _known(connection, sender, sent):
            return
    row = _row(hub, sent)
    hub.artefacts.put(picture_name(sent.sha256), sent.content)
    hub.database.writing_with_others(lambda connection: _insert(connection, row))
    # between put and commit, retention may have deleted what no row named yet
    hub.artefacts.put(picture_name(sent.sha256), sent.content)


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


def _known(connection: Connection, sender: Sender, sent: SentPicture) -> bool:
    """Say whether this very picture is there already."""
    found = (
        select(events.c.station, pictures.c.sha256)
        .join_from(
            events,
            pictures,
            (pictures.c.event_id == events.c.event_id) & (pictures.c.name == sent.name),
            isouter=True,
        )
        .where(events.c.event_id == sent.event_id)
    )
    row = connection.execute(found).one_or_none()
    if row is None:
        raise NotThere(f"event '{sent.event_id[:128]}': is not stored; send it before its pictures")
    if row.station != sender.station:
        raise Foreign(f"event '{sent.event_id}': is not of station '{sender.station}'")
    if row.sha256 is not None:
        _require_same(sent.event_id, sent.name, row.sha256, sent.sha256)
    return row.sha256 is not None


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


def _insert(connection: Connection, row: dict[str, Any]) -> None:
    if insert_new(connection, pictures, [row], "name"):
        return
    stored = connection.execute(
        select(pictures.c.sha256).where(
            pictures.c.event_id == row["event_id"], pictures.c.name == row["name"]
        )
    ).scalar_one()
    _require_same(row["event_id"], row["name"], stored, row["sha256"])


def _require_same(event_id: str, name: str, stored: str, sent: str) -> None:
    if stored != sent:
        raise Standing(
            f"event '{event_id}': has another picture '{name}' already, which stays; give this "
            "one a name of its own"
        )
