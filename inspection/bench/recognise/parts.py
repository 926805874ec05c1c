"""Divides magnetic_tile for a second stage: 60 parts teach, 40 judge, by a hash of the part.

Its good parts of `test` judge only: the anomaly model learns of `train`, and the OR rule needs good
parts that neither model knows.
"""

from pathlib import Path

from inspection.core.imaging import load_image
from inspection.core.records import write_text
from inspection.recognition.settings import LabelSettings, LabelSource
from inspection.review.coco import ShapedPicture, coco_file

GOOD_JUDGES = "test/good"


def label_settings(root: Path, work: Path) -> LabelSettings:
    """Give the labels: the set without its tested good parts, and these in a COCO file."""
    names = sorted(path.name for path in (root / GOOD_JUDGES).iterdir())
    pictures = []
    for name in names:
        pixels = load_image(root / GOOD_JUDGES / name)
        size = pixels.shape[0], pixels.shape[1]
        pictures.append(ShapedPicture(f"{GOOD_JUDGES}/{name}", size, (), {}))
    path = work / "good.json"
    write_text(path, coco_file(pictures, ("good",), "good parts that judge").text)
    taught = work / "taught"
    if not taught.exists():
        for folder in ("train", "test", "ground_truth"):
            for kind in sorted((root / folder).iterdir()):
                if f"{folder}/{kind.name}" != GOOD_JUDGES:
                    _copy(kind, taught / folder / kind.name)
    return LabelSettings(
        sources=(
            LabelSource(path=str(taught)),
            LabelSource(path=str(path), pictures=str(root), side="test"),
        )
    )


def _copy(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        (folder / path.name).write_bytes(path.read_bytes())
