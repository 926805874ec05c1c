"""Hands reviewed parts out as a ZIP that other tools read: MVTec AD's folders, or COCO JSON.

Names in it are made of event ids and hashes. What is left out is counted in its `export.json`.
"""

import mimetypes
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Literal
from zipfile import ZipFile

import numpy as np
from pydantic import AwareDatetime, Field

from inspection.bundles.overlay import write_picture
from inspection.core.imaging import Mask, Rgb, decode_image
from inspection.core.parts import Pixels, cut
from inspection.hub.artefacts import picture_name
from inspection.hub.datasets import DISPUTED, ReviewedFrame, reviewed_frames
from inspection.hub.hub import Hub
from inspection.hub.refusals import NotThere
from inspection.hub.wire.message import Answer
from inspection.hub.wire.review import Decision
from inspection.review.corrections import Correction, ReviewedPicture
from inspection.review.exports import UNNAMED, reviewed_coco, write_dataset

Layout = Literal["mvtec", "coco"]
NO_PICTURE = "picture is not here"
NO_MASK = "defect without a mask"
TWICE = "same picture as a part decided later"
CONTRADICTED = "good, but a defect is drawn on it"


class ExportReport(Answer):
    """What an export holds and what it had to leave out, in pictures."""

    line: str
    product: str
    layout: Layout
    at: AwareDatetime
    good: int
    defects: dict[str, int] = Field(description="by type")
    left_out: dict[str, int] = Field(description="by reason")


@dataclass
class _Reader:
    """Reads frames one after the other, and counts."""

    hub: Hub
    frames: Sequence[ReviewedFrame]
    cuts: bool
    """Give of each picture and mask what was judged of it only."""
    good: int = 0
    defects: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    bare: list[tuple[ReviewedFrame, str]] = field(default_factory=list)
    """Defects without a mask, with their type."""

    def pictures(self) -> Iterator[tuple[ReviewedPicture, bytes]]:
        """Give what can be labelled, with the bytes of the picture."""
        seen = set()
        for frame in self.frames:
            encoded = self._get(frame.sha256)
            if encoded is None or frame.sha256 in seen:
                self.left_out[NO_PICTURE if encoded is None else TWICE] += 1
                continue
            seen.add(frame.sha256)
            pixels = decode_image(encoded, frame.event_id)
            mask = self._mask(frame, pixels)
            one = _reviewed(frame, self._cut(frame, pixels), self._cut(frame, mask))
            if self._counted(frame, one):
                yield one, encoded

    def _counted(self, frame: ReviewedFrame, one: ReviewedPicture) -> bool:
        if frame.decision is Decision.GOOD:
            self.good += one.is_good
            self.left_out[CONTRADICTED] += not one.is_good
            return one.is_good
        if one.defects:
            self.defects[_kind(frame)] += 1
            return True
        self.bare.append((frame, _kind(frame)))
        return False

    def read_bare(self) -> Iterator[tuple[ReviewedFrame, str, Rgb]]:
        """Give each defect without a mask, with its type and picture."""
        for frame, kind in self.bare:
            encoded = self.hub.artefacts.get(picture_name(str(frame.sha256)))
            yield frame, kind, self._cut(frame, decode_image(encoded, frame.event_id))

    def _cut(self, frame: ReviewedFrame, pixels: Pixels) -> Pixels:
        return cut(pixels, frame.roi) if self.cuts else pixels

    def _mask(self, frame: ReviewedFrame, pixels: Rgb) -> Mask:
        encoded = self._get(frame.mask_sha256)
        if encoded is None:
            return np.zeros(pixels.shape[:2], np.bool_)
        return np.asarray(decode_image(encoded, f"mask of {frame.event_id}").any(axis=2))

    def _get(self, sha256: str | None) -> bytes | None:
        try:
            return None if sha256 is None else self.hub.artefacts.get(picture_name(sha256))
        except KeyError:
            return None


def export_set(hub: Hub, line: str, product: str, layout: Layout) -> IO[bytes]:
    """Give a ZIP of a product's reviewed parts, as an open temporary file at its beginning.

    `mvtec` is a data set as `inspection dataset check` reads it: good parts in `train/good`,
    pictures and masks cut as the recipe cut what was judged. Where some defects have masks, those
    without are left out, because such a set is not sound; where none has, all are in. `coco` holds
    `annotations.json` and the very `pictures`; without a mask a defect would be read as a good part
    there, so it is left out. What two people see differently is in neither.

    Raises:
        NotThere: no part of the product was decided good or defective on this line.
    """
    with hub.database.reading() as connection:
        frames = reviewed_frames(connection, line, product)
    if not frames:
        raise NotThere(
            f"line '{line}', product '{product}': no part was decided good or defective; review "
            "some first"
        )
    write: Callable[[ZipFile, _Reader], None] = _write_mvtec if layout == "mvtec" else _write_coco
    reader = _Reader(hub, [one for one in frames if not one.disputed], layout == "mvtec")
    reader.left_out[DISPUTED] = len(frames) - len(reader.frames)
    with ExitStack() as opened:
        out = opened.enter_context(TemporaryFile())
        with ZipFile(out, "w") as archive:
            write(archive, reader)
            report = ExportReport(
                line=line,
                product=product,
                layout=layout,
                at=hub.now(),
                good=reader.good,
                defects=dict(reader.defects.most_common()),
                left_out=dict(+reader.left_out),
            )
            archive.writestr("export.json", report.model_dump_json(indent=1) + "\n")
        out.seek(0)
        opened.pop_all()
    return out


def _write_mvtec(archive: ZipFile, reader: _Reader) -> None:
    with TemporaryDirectory() as place:
        folder = Path(place, "set")
        made = write_dataset((one for one, _ in reader.pictures()), folder)
        if made.defects:
            reader.left_out[NO_MASK] += len(reader.bare)
        else:
            _add_bare(folder, reader)
        archive.mkdir("train/good")  # by this folder a data set is known
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder))


def _add_bare(folder: Path, reader: _Reader) -> None:
    for frame, kind, pixels in reader.read_bare():
        name = f"{_stem(frame)}-{str(frame.sha256)[:12]}.png"
        write_picture(folder / "test" / kind / name, pixels)
        reader.defects[kind] += 1


def _write_coco(archive: ZipFile, reader: _Reader) -> None:
    def labels() -> Iterator[ReviewedPicture]:
        for one, encoded in reader.pictures():
            archive.writestr(f"pictures/{one.corrections[0].picture_file}", encoded)
            yield one

    drawn = [one for one in reader.frames if one.decision is Decision.DEFECT and one.mask_sha256]
    kinds = sorted({_kind(frame) for frame in drawn})
    archive.writestr("annotations.json", reviewed_coco(labels(), kinds).text)
    reader.left_out[NO_MASK] += len(reader.bare)


def _reviewed(frame: ReviewedFrame, pixels: Rgb, mask: Mask) -> ReviewedPicture:
    correction = Correction(
        author=frame.by[:64],
        when=frame.at,
        defect=frame.defect if frame.decision is Decision.DEFECT else None,
        event_id=frame.event_id,
        image_sha256=str(frame.sha256),
        image=f"{_stem(frame)}{mimetypes.guess_extension(frame.kind) or ''}",
        height_px=pixels.shape[0],
        width_px=pixels.shape[1],
        mask_sha256=frame.mask_sha256 or "0" * 64,
    )
    return ReviewedPicture(pixels, (correction,), (mask,))


def _kind(frame: ReviewedFrame) -> str:
    return frame.defect or UNNAMED


def _stem(frame: ReviewedFrame) -> str:
    """Give a file name made of the event id: a station chose that, so nothing odd of it is kept."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", frame.event_id)[:64]
