"""Carries a mask that a person drew on one frame of a part to its other frames.

What comes of it is proposed: a person looks at each mask before it becomes a correction. The model
follows what it was shown; on a frame where it does not see that any more it proposes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from inspection.core.errors import ConfigError, ImageError
from inspection.core.folders import new_folder
from inspection.core.imaging import Mask, Rgb, load_image
from inspection.core.records import Record, write_record
from inspection.masks.sam import Fit
from inspection.review.checkpoint import VideoCheckpoint, load_video_checkpoint
from inspection.review.coco import encode_mask
from inspection.review.corrections import read_drawing

RECORD = "carried.json"
DEFECT = 1  # the one object that is followed


@dataclass(frozen=True)
class Carried:
    """The mask of one frame."""

    mask: Mask
    """bool, as large as the frame; empty where the defect is not seen."""
    sure: float
    """How sure the model is that the frame shows it, 0 to 1; 1 of a drawn one."""


class CarriedFrame(Record):
    """What was proposed for one frame."""

    image: str
    mask: str
    sure: float
    drawn: bool


class CarriedFrames(Record):
    """The proposals for the frames of one part, and what made them."""

    checkpoint: str
    sha256: str
    frames: tuple[CarriedFrame, ...]

    def __str__(self) -> str:
        """Say them, a frame a line."""
        return "\n".join(
            f"{'drawn   ' if one.drawn else 'proposed'}  {one.sure:.2f}  {one.mask}"
            for one in self.frames
        )


@torch.no_grad()
def carry(
    checkpoint: VideoCheckpoint, frames: Sequence[Rgb], drawn: Mapping[int, Mask]
) -> tuple[Carried, ...]:
    """Carry masks to all frames, from the first drawn one forth, and back.

    Args:
        checkpoint: what follows the defect.
        frames: of one part in order, at least two, uint8 H×W×3 RGB of one size.
        drawn: place of a frame, from 0 → its mask, bool H×W, not empty; at least one.

    Raises:
        ConfigError: there is nothing to carry, or nowhere to.
        ImageError: frames of several sizes, or a mask that does not fit.
    """
    _require_sound(frames, drawn)
    height, width = frames[0].shape[:2]
    side = checkpoint.side_px
    session = checkpoint.session(
        video=torch.cat([_normalised(checkpoint, pixels) for pixels in frames]),
        video_height=height,
        video_width=width,
        dtype=torch.float32,
    )
    index = session.obj_id_to_idx(DEFECT)
    for place in sorted(drawn):
        given = torch.from_numpy(drawn[place].astype(np.float32))[None, None]
        seen = interpolate(given, (side, side), mode="bilinear", antialias=True)
        session.add_mask_inputs(index, place, (seen >= 0.5).float())
        session.obj_with_new_inputs = [DEFECT]
        checkpoint.model(session, frame_idx=place)
    found = {place: Carried(mask, 1.0) for place, mask in drawn.items()}
    first = min(drawn)
    for reverse in (False, True):
        steps = checkpoint.model.propagate_in_video_iterator(
            session, start_frame_idx=first, reverse=reverse
        )
        for step in steps:
            found.setdefault(int(step.frame_idx), _carried(step, (height, width)))
    return tuple(found[place] for place in range(len(frames)))


def carry_files(checkpoint: str, frames: Sequence[Path], mask: Path, on: int, out: Path) -> Path:
    """Carry a drawn mask to the other frames of a part and write a mask for each.

    Args:
        checkpoint: folder or name of a SAM 2 or EdgeTAM for videos.
        frames: picture files of one part, in order.
        mask: as `corrections.read_drawing` takes it.
        on: which of the frames it was drawn on, from 1.
        out: folder to make: NAME_mask.png for each frame, and `carried.json`.

    Returns:
        `out`.

    Raises:
        ConfigError: no such checkpoint or frame, or two frames of one name.
        ImageError: a picture cannot be read, or the mask does not fit.
        InspectionError: `out` holds files or cannot be written.
    """
    if not 1 <= on <= len(frames):
        raise ConfigError(f"--on is {on}; wanted 1 to {len(frames)}, the place of a frame; mend it")
    names = [f"{path.stem}_mask.png" for path in frames]
    if len(set(names)) < len(names):
        raise ConfigError("two frames have one name, so would their masks; rename one")
    loaded = load_video_checkpoint(checkpoint)
    found = carry(loaded, [load_image(path) for path in frames], {on - 1: read_drawing(mask)})
    with new_folder(out) as folder:
        for name, one in zip(names, found, strict=True):
            (folder / name).write_bytes(encode_mask(one.mask))
        each = zip(frames, names, found, strict=True)
        record = CarriedFrames(
            checkpoint=loaded.name,
            sha256=loaded.sha256,
            frames=tuple(
                CarriedFrame(image=path.name, mask=name, sure=one.sure, drawn=place == on)
                for place, (path, name, one) in enumerate(each, 1)
            ),
        )
        write_record(folder / RECORD, record)
    return out


def _require_sound(frames: Sequence[Rgb], drawn: Mapping[int, Mask]) -> None:
    sizes = {pixels.shape[:2] for pixels in frames}
    if len(frames) < 2 or not drawn or not set(drawn) <= set(range(len(frames))):
        raise ConfigError(
            f"{len(frames)} frames, masks on {sorted(drawn)}; wanted two frames or more, and a "
            "mask on one of them; name the frames of one part"
        )
    if len(sizes) > 1:
        raise ImageError(
            f"frames of sizes {sorted(sizes)}; wanted one; name the frames of one part and camera"
        )
    for place, mask in drawn.items():
        if mask.shape != frames[0].shape[:2] or not mask.any():
            raise ImageError(
                f"mask of frame {place + 1} is {mask.shape}, {np.count_nonzero(mask)} px of it "
                f"drawn; wanted {frames[0].shape[:2]} with a defect; draw it on that frame"
            )


def _normalised(checkpoint: VideoCheckpoint, pixels: Rgb) -> Tensor:
    """Give what the model takes of a frame, float32 (1, 3, side, side)."""
    fit = Fit(checkpoint.side_px, (pixels.shape[0], pixels.shape[1]), keeps_aspect=False)
    mean, std = (np.array(v, np.float32) for v in (checkpoint.pixels.mean, checkpoint.pixels.std))
    colours = (fit.pixels(pixels) - mean) / std
    return torch.from_numpy(colours.astype(np.float32).transpose(2, 0, 1)[None])


def _carried(step: Any, size_hw: tuple[int, int]) -> Carried:
    """Read one frame's answer: logits (1, 1, h, w), and whether it shows the object at all."""
    sure = float(torch.sigmoid(step.object_score_logits.reshape(-1)[0]))
    logits = interpolate(step.pred_masks.float(), size_hw, mode="bilinear", align_corners=False)
    mask = (logits[0, 0] > 0).numpy() if sure > 0.5 else np.zeros(size_hw, np.bool_)
    return Carried(mask, sure)
