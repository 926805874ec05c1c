"""Outlines what reviewers click on, and keeps the masks they correct, revision by revision."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, Row, select

from inspection.core.errors import ConfigError
from inspection.core.imaging import Mask, Rgb, decode_image, read_header
from inspection.core.records import FrameRecord
from inspection.hub.artefacts import picture_name
from inspection.hub.audit import note
from inspection.hub.database import insert_new
from inspection.hub.hub import Hub
from inspection.hub.ingest import parse_event
from inspection.hub.pictures import find_picture, picture_bytes
from inspection.hub.refusals import NotThere, Standing
from inspection.hub.tables import corrections, events
from inspection.hub.wire.review import Correction, NewCorrection, Outline, Outlined
from inspection.masks.segmenter import Points
from inspection.review.coco import encode_mask

GREY = "image/png", "L"


@dataclass(frozen=True)
class KeptFrame:
    """A frame of an event whose picture is on the hub."""

    event_id: str
    record: FrameRecord
    sha256: str
    """Of the picture."""
    size_hw: tuple[int, int]
    """Of the picture, px."""

    def load(self, hub: Hub) -> Rgb:
        """Give the picture, uint8 H×W×3 RGB.

        Raises:
            NotThere: retention took it meanwhile.
            ImageError: it is damaged.
        """
        return decode_image(picture_bytes(hub, self.sha256), self.record.image or "")


class Corrected(NamedTuple):
    """A mask a person made."""

    mask: Mask
    """bool, as large as the picture."""
    reviewer: str
    revision: int


def find_frame(hub: Hub, event_id: str, camera: str) -> KeptFrame:
    """Find one camera's frame of an event; `main-f3` is the third of a part of several.

    Raises:
        NotThere: no such event or camera, or its picture is not on the hub.
    """
    wanted = select(events.c.record).where(events.c.event_id == event_id)
    with hub.database.reading() as connection:
        text = connection.execute(wanted).scalar_one_or_none()
    if text is None:
        raise NotThere(f"event '{event_id[:128]}': is not on this hub")
    frames = {one.view: one for one in parse_event(text).frames}
    record = frames.get(camera)
    if record is None:
        raise NotThere(f"event '{event_id}': has no camera '{camera}', only {', '.join(frames)}")
    if record.image is None:
        raise NotThere(f"event '{event_id}': no picture of camera '{camera}' was kept")
    row = find_picture(hub, event_id, record.image)
    return KeptFrame(event_id, record, row.sha256, (row.height_px, row.width_px))


def outline(hub: Hub, event_id: str, clicks: Outline) -> Outlined:
    """Outline what was clicked on a frame.

    Raises:
        NotThere: as for `find_frame`.
        ConfigError: the clicks do not fit the picture, or there are none.
    """
    frame, asked = find_frame(hub, event_id, clicks.camera), hub.opened.clicks
    with hub.opened.room:
        mask = asked.outline(
            frame.load(hub),
            box=clicks.box,
            positive=_points(clicks.positive),
            negative=_points(clicks.negative),
        )
    return Outlined(
        mask=as_text(encode_mask(mask)),
        area_px=np.count_nonzero(mask),
        segmenter=asked.segmenter.name,
    )


def as_text(encoded: bytes) -> str:
    """Give bytes as base64."""
    return base64.b64encode(encoded).decode()


def _points(places: tuple[tuple[float, float], ...]) -> Points:
    return np.asarray(places, np.float32).reshape(-1, 2)


def correct(hub: Hub, event_id: str, new: NewCorrection, reviewer: str) -> Correction:
    """Keep a person's mask of a frame; those before stay in the log.

    Raises:
        NotThere: as for `find_frame`.
        ConfigError: the mask is not base64 of a grey PNG with 8 bits, as large as the picture.
        Standing: another correction than the one seen last is in force.
    """
    frame = find_frame(hub, event_id, new.camera)
    with hub.opened.room:
        encoded = encode_mask(_mask(new.mask, frame.size_hw))
    sha256 = hashlib.sha256(encoded).hexdigest()
    row = {
        "event_id": event_id,
        "camera": new.camera,
        "revision": new.revision + 1,
        "reviewer": reviewer,
        "defect": new.defect,
        "sha256": sha256,
        "at": hub.now(),
    }
    hub.artefacts.put(picture_name(sha256), encoded)
    with hub.database.writing() as connection:
        _add(connection, row)
    hub.artefacts.put(
        picture_name(sha256), encoded
    )  # retention may have taken it before its row was there
    return Correction.model_validate(row)


def _add(connection: Connection, row: dict[str, Any]) -> None:
    latest = _latest(connection, row["event_id"], row["camera"])
    stands = latest.revision if latest else 0
    if stands + 1 != row["revision"] or not insert_new(connection, corrections, [row], "id"):
        who = f"'{latest.reviewer}'" if latest else "somebody"
        raise Standing(
            f"event '{row['event_id']}': {who} corrected the mask of camera '{row['camera']}' "
            "meanwhile, which stays; look at it, then correct it anew"
        )
    shown = {name: row[name] for name in ("camera", "revision", "defect", "sha256")}
    note(connection, row["at"], row["reviewer"], "mask correct", row["event_id"], **shown)


def corrected(hub: Hub, frame: KeptFrame) -> Corrected | None:
    """Give the mask in force that a person made of a frame; none of none."""
    with hub.database.reading() as connection:
        row = _latest(connection, frame.event_id, frame.record.view)
    if row is None:
        return None
    encoded = picture_bytes(hub, row.sha256)
    mask = decode_image(encoded, f"mask of {row.reviewer}")[:, :, 0] > 0
    return Corrected(mask, row.reviewer, row.revision)


def _latest(connection: Connection, event_id: str, camera: str) -> Row[Any] | None:
    return connection.execute(
        select(corrections)
        .where(corrections.c.event_id == event_id, corrections.c.camera == camera)
        .order_by(corrections.c.revision.desc())
        .limit(1)
    ).one_or_none()


def _mask(text: str, size_hw: tuple[int, int]) -> Mask:
    """Read a mask a client sent; its pixels are decoded only when its header fits."""
    try:
        encoded = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ConfigError(f"mask: not base64 ({error}); wanted that of a PNG") from error
    header = read_header(encoded, "mask")
    found = header.height_px, header.width_px
    if (header.kind, header.mode) != GREY or found != size_hw:
        raise ConfigError(
            f"mask: {header.kind} of mode {header.mode}, {found[0]}×{found[1]} px; wanted a PNG, "
            f"grey 8 bit, {size_hw[0]}×{size_hw[1]} px like the picture"
        )
    return decode_image(encoded, "mask")[:, :, 0] > 0
