"""Judges picture files with an open bundle, one result per file; what cannot be judged is FAULT."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from inspection.bundles.bundle import Bundle
from inspection.bundles.overlay import draw_overlay, write_picture
from inspection.core.decision import Judgement, Region, Verdict
from inspection.core.errors import ConfigError, ImageError
from inspection.core.imaging import Rgb, load_image
from inspection.core.progress import follow

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class JudgedFile:
    """What a bundle said of one picture file."""

    path: Path
    verdict: Verdict
    score: float | None
    """Raw; none for FAULT."""
    regions: tuple[Region, ...]
    reason: str
    """Empty, or why the file could not be judged."""
    overlay: Path | None
    """None when none was asked for or it could not be written."""


def judge_files(
    bundle: Bundle, paths: Sequence[Path], overlays: Path | None = None
) -> Iterator[JudgedFile]:
    """Judge files in order; a file that cannot be read is FAULT and the next one is judged.

    Args:
        bundle: what judges.
        paths: picture files.
        overlays: folder for one picture per judged file, in the sub-folders the files lie in;
            none draws nothing.

    Raises:
        ConfigError: an overlay would replace one of the files.
    """
    targets = overlay_paths(paths, overlays) if overlays and paths else [None] * len(paths)
    for path, target in follow(list(zip(paths, targets, strict=True)), "judging"):
        yield _judge_file(bundle, path, target)


def overlay_paths(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Give each file its overlay below `folder`, named by its place below their common parent.

    Raises:
        ConfigError: one of them is the file itself, or two files would share one.
    """
    whole = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - without '..'
    common = os.path.commonpath([path.parent for path in whole])
    targets = [folder / path.relative_to(common) for path in whole]
    targets = [
        target if target.suffix.lower() == ".png" else target.with_name(f"{target.name}.png")
        for target in targets
    ]
    sources = {path.resolve() for path in paths}
    lost = [str(target) for target in targets if target.resolve() in sources]
    if lost:
        raise ConfigError(f"{lost[0]}: the overlay would replace a part; name another folder")
    if len(set(targets)) < len(set(whole)):
        raise ConfigError(f"{folder}: two parts would share one overlay; judge them one by one")
    return targets


def _judge_file(bundle: Bundle, path: Path, target: Path | None) -> JudgedFile:
    try:
        pixels = load_image(path)
    except ImageError as error:
        return JudgedFile(path, Verdict.FAULT, None, (), str(error), None)
    judgement = bundle.judge(pixels)
    if judgement.fault:
        return JudgedFile(path, Verdict.FAULT, None, (), f"{path}: {judgement.fault}", None)
    drawn = target if target and _draw(bundle, pixels, judgement, target) else None
    return JudgedFile(path, judgement.verdict, judgement.score, judgement.regions, "", drawn)


def _draw(bundle: Bundle, pixels: Rgb, judgement: Judgement, target: Path) -> bool:
    """Write the overlay; a verdict is worth more than its picture."""
    picture = draw_overlay(pixels, judgement, bundle.card.geometry, bundle.card.score)
    try:
        write_picture(target, picture)
    except OSError as error:
        logger.warning("%s: overlay lost (%s); free space or rights", target, error.strerror)
        return False
    return True
