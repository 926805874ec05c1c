"""Lists what lies in a folder of parts: MVTec AD, VisA, BTAD or plain good/ bad/ [masks/].

Reads names only, never pixels; masks are paired by key (folder and stem), never by position.
"""

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from inspection.core.errors import DatasetError
from inspection.core.limits import MAX_RECORD_BYTES, read_file
from inspection.core.records import Label

Layout = Literal["mvtec", "visa", "btad", "plain"]
Side = Literal["train", "test"]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
VISA_SPLIT = "split_csv/1cls.csv"
LAYOUTS = (
    "MVTec AD (train/good, test/<defect>, ground_truth/<defect>/<stem>_mask.png)",
    "VisA (Data/Images/Normal, Data/Images/Anomaly, Data/Masks/Anomaly)",
    "BTAD (train/ok, test/ok, test/ko, ground_truth/ko)",
    "plain (good, bad, masks)",
)


@dataclass(frozen=True)
class FoundImage:
    """One image by its name: what it shows, where its mask is, which side its layout fixes."""

    path: str  # POSIX, relative to the root
    label: Label
    defect: str | None
    side: Side | None
    mask: str | None


@dataclass(frozen=True)
class Listing:
    """What lies in a folder, sorted by path, and what of it was not taken and why."""

    layout: Layout
    images: tuple[FoundImage, ...]
    orphan_masks: tuple[str, ...]
    rival_masks: tuple[tuple[str, str], ...]  # (image, the mask that was not taken)
    rival_images: tuple[tuple[str, str], ...]  # (image, another one that its mask could mean)
    outside: tuple[str, ...]  # links that leave the root, and links to folders
    unnamed: tuple[str, ...]  # files whose name is no UTF-8, which no manifest can hold
    ignored: tuple[str, ...]  # files that are no image of this layout
    missing: tuple[str, ...]  # files that the split table names


@dataclass(frozen=True)
class _Place:
    """Where images of one meaning lie in a layout."""

    label: Label
    defect: str | None
    side: Side | None


@dataclass
class _Files:
    """Every file below a root, sorted, with the links that are not followed."""

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)


def list_folder(root: Path) -> Listing:
    """List a data set by its names.

    Raises:
        DatasetError: no folder, or none of the four layouts; names them, and the data sets inside.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; wanted a folder of parts; check the path")
    layout = find_layout(root)
    if layout is None:
        raise DatasetError(_unknown(root))
    files = _walk(root.resolve())
    if layout == "visa":
        sides = _visa_sides(root)
        return _list(
            layout, files, lambda path: _visa_place(path, sides), _visa_missing(files, sides)
        )
    places = {"mvtec": _mvtec_place, "btad": _btad_place, "plain": _plain_place}
    return _list(layout, files, places[layout], ())


def find_layout(root: Path) -> Layout | None:
    """Say which layout a folder has, by the folders of its good parts."""
    marks: tuple[tuple[str, Layout], ...] = (
        ("train/good", "mvtec"),
        ("train/ok", "btad"),
        ("Data/Images/Normal", "visa"),
        ("good", "plain"),
    )
    return next((layout for mark, layout in marks if (root / mark).is_dir()), None)


def _unknown(root: Path) -> str:
    inside = sorted(
        path.name for path in root.iterdir() if path.is_dir() and find_layout(path) is not None
    )
    hint = f"it holds data sets: {', '.join(inside)}; name one" if inside else "check the path"
    return f"{root}: no data set; wanted one of {'; '.join(LAYOUTS)}; {hint}"


def _walk(root: Path) -> _Files:
    files = _Files()
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        relative = here.relative_to(root)
        folders.sort()
        links = [name for name in folders if (here / name).is_symlink()]
        files.outside += [(relative / name).as_posix() for name in links]
        folders[:] = [name for name in folders if not name.startswith(".") and name not in links]
        for name in names:
            _sort_in(files, root, relative / name)
    for names in (files.images, files.others, files.outside, files.unnamed):
        names.sort()
    return files


def _sort_in(files: _Files, root: Path, relative: Path) -> None:
    path = root / relative
    name = relative.as_posix().encode("utf-8", "surrogateescape")
    if not _is_utf8(name):
        files.unnamed.append(name.decode("utf-8", "backslashreplace"))
    elif path.is_symlink() and not path.resolve().is_relative_to(root):
        files.outside.append(relative.as_posix())
    elif path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
        files.images.append(relative.as_posix())
    else:
        files.others.append(relative.as_posix())


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _list(
    layout: Layout,
    files: _Files,
    place_of: Callable[[str], _Place | None],
    missing: tuple[str, ...],
) -> Listing:
    masks = [path for path in files.images if _mask_key(layout, path) is not None]
    placed = [(path, place_of(path)) for path in files.images]
    taken = [(path, place) for path, place in placed if place is not None]
    by_key, rivals = _masks_by_key(layout, masks)
    images, used, rival_masks = [], set(), []
    for path, place in taken:
        mask = by_key.get(_image_key(layout, path))
        images.append(FoundImage(path, place.label, place.defect, place.side, mask))
        if mask is not None:
            used.add(mask)
            rival_masks += [(path, rival) for rival in rivals.get(mask, ())]
    left = set(masks) - used - {rival for _, rival in rival_masks}
    ignored = {path for path, place in placed if place is None} - set(masks)
    return Listing(
        layout,
        tuple(images),
        tuple(sorted(left)),
        tuple(rival_masks),
        _same_key(image.path for image in images if image.mask is not None),
        tuple(files.outside),
        tuple(files.unnamed),
        tuple(sorted(ignored.union(files.others) - {VISA_SPLIT})),
        missing,
    )


def _masks_by_key(
    layout: Layout, masks: Iterable[str]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Give the first mask of each key, and for it the others of the same key."""
    by_key: dict[str, str] = {}
    rivals: dict[str, list[str]] = {}
    for path in masks:
        key = _mask_key(layout, path) or ""
        if key in by_key:
            rivals.setdefault(by_key[key], []).append(path)
        else:
            by_key[key] = path
    return by_key, rivals


def _same_key(paths: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Find images that differ in their suffix only: one mask stands for both."""
    first: dict[str, str] = {}
    return tuple(
        (path, first[stem]) for path in paths if first.setdefault(stem := _stem(path), path) != path
    )


def _stem(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))


IMAGE_FOLDERS = {"mvtec": "test/", "btad": "test/", "visa": "Data/Images/", "plain": "bad/"}
MASK_FOLDERS = {
    "mvtec": "ground_truth/",
    "btad": "ground_truth/",
    "visa": "Data/Masks/",
    "plain": "masks/",
}


def _image_key(layout: Layout, path: str) -> str:
    return _stem(path.removeprefix(IMAGE_FOLDERS[layout]))


def _mask_key(layout: Layout, path: str) -> str | None:
    """Give the key of the image that a mask belongs to; none when the file is no mask."""
    if not path.startswith(MASK_FOLDERS[layout]):
        return None
    return _stem(path.removeprefix(MASK_FOLDERS[layout])).removesuffix("_mask")


def _mvtec_place(path: str) -> _Place | None:
    match path.split("/"):
        case ["train", "good", _]:
            return _Place(Label.GOOD, None, "train")
        case ["test", "good", _]:
            return _Place(Label.GOOD, None, "test")
        case ["test", defect, _]:
            return _Place(Label.DEFECT, defect, "test")
    return None


def _btad_place(path: str) -> _Place | None:
    match path.split("/"):
        case ["train", "ok", _]:
            return _Place(Label.GOOD, None, "train")
        case ["test", "ok", _]:
            return _Place(Label.GOOD, None, "test")
        case ["test", "ko", _]:
            return _Place(Label.DEFECT, "ko", "test")
    return None


def _plain_place(path: str) -> _Place | None:
    match path.split("/"):
        case ["good", *_]:
            return _Place(Label.GOOD, None, None)
        case ["bad", _]:
            return _Place(Label.DEFECT, "bad", "test")
        case ["bad", defect, *_]:
            return _Place(Label.DEFECT, defect, "test")
    return None


def _visa_place(path: str, sides: dict[str, Side] | None) -> _Place | None:
    if sides is not None and path.startswith("Data/Images/") and path not in sides:
        return None  # the table leaves it out, so it belongs to no split
    match path.split("/"):
        case ["Data", "Images", "Normal", _]:
            return _Place(Label.GOOD, None, None if sides is None else sides[path])
        case ["Data", "Images", "Anomaly", _]:
            return _Place(Label.DEFECT, "anomaly", "test")
    return None


def _visa_missing(files: _Files, sides: dict[str, Side] | None) -> tuple[str, ...]:
    return tuple(sorted(set(sides or ()) - set(files.images) - set(files.outside)))


def _visa_sides(root: Path) -> dict[str, Side] | None:
    """Read the side of each image from the split table, in the category or beside it.

    Raises:
        DatasetError: the table has other columns, or no row for this folder's name.
    """
    tables = (root / VISA_SPLIT, root.resolve().parent / VISA_SPLIT)
    table = next((path for path in tables if path.is_file()), None)
    if table is None:
        return None
    rows = list(_rows(table))
    category = root.resolve().name
    mine = [row for row in rows if row["object"] == category]
    if not mine:
        known = ", ".join(sorted({row["object"] for row in rows}))
        raise DatasetError(
            f"{table}: no row for '{category}'; found {known or 'no rows'}; "
            "name the folder as its category"
        )
    return {
        row["image"].removeprefix(f"{category}/"): "train" if row["split"] == "train" else "test"
        for row in mine
    }


def _rows(table: Path) -> Iterator[dict[str, str]]:
    wanted = {"object", "split", "label", "image", "mask"}  # the columns VisA ships
    try:
        text = read_file(table, MAX_RECORD_BYTES, follow=True).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        if not wanted <= set(reader.fieldnames or ()):
            raise DatasetError(
                f"{table}: columns are {', '.join(reader.fieldnames or ()) or 'none'}; wanted "
                f"{', '.join(sorted(wanted))}; take the table that VisA ships"
            )
        for row in reader:
            if row["split"] not in {"train", "test"}:
                raise DatasetError(
                    f"{table}:{reader.line_num}: split is '{row['split']}'; wanted train or test"
                )
            yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table}: cannot be read ({error}); take VisA's own") from error
