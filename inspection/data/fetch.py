"""Fetches one category of a public data set: licence first, resumable, checked, safely unpacked.

The archive is kept beside the categories, so that the next one needs no download.
"""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import httpx
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from inspection.core.errors import DatasetError
from inspection.core.folders import new_folder
from inspection.core.limits import MAX_TEXT_BYTES, read_file
from inspection.core.records import hash_file, write_text
from inspection.data.archive import ArchiveKind, extract_folders

CC_BY_NC_SA = (
    "Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International (CC BY-NC-SA 4.0): "
    "not for commercial use; name the authors; share what you make of it alike."
)
VISA_LICENCE = (
    "Creative Commons Attribution 4.0 International (CC BY 4.0) by its authors' page; Anomalib's "
    "documentation says CC BY-NC-SA 4.0. What binds is LICENSE-DATASET in the archive, which is "
    "put beside the images: read it before any commercial use."
)
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Source:
    """A public data set: what it may be used for, where it lies, how one category lies in it."""

    title: str
    homepage: str
    licence: str
    host: str  # stands before `path`; a mirror replaces it
    path: str
    kind: ArchiveKind
    sha256: str | None  # of the archive; none where nobody published it
    folder: str  # of a category inside the archive, with {category}
    beside: tuple[str, ...]  # what lies outside the categories and belongs to each
    categories: tuple[str, ...]


# Addresses and hashes as documented in the data modules of Anomalib 2.7 (mvtecad.py, visa.py,
# btech.py). Licences as the homepages state them; they are shown before anything is fetched.
SOURCES: dict[str, Source] = {
    "mvtec": Source(
        title="MVTec AD",
        homepage="https://www.mvtec.com/company/research/datasets/mvtec-ad",
        licence=CC_BY_NC_SA,
        host="https://www.mydrive.ch",
        path="/shares/150996/b52ecdcbf521176e9db9c731f2304b27/download/420938113-1629960298/"
        "mvtec_anomaly_detection.tar.xz",
        kind="tar",
        sha256="cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
        folder="{category}",
        beside=(),
        categories=(
            "bottle",
            "cable",
            "capsule",
            "carpet",
            "grid",
            "hazelnut",
            "leather",
            "metal_nut",
            "pill",
            "screw",
            "tile",
            "toothbrush",
            "transistor",
            "wood",
            "zipper",
        ),
    ),
    "visa": Source(
        title="VisA",
        homepage="https://github.com/amazon-science/spot-diff",
        licence=VISA_LICENCE,
        host="https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com",
        path="/VisA_20220922.tar",
        kind="tar",
        sha256="2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362",
        folder="{category}",
        beside=("split_csv", "LICENSE-DATASET"),
        categories=(
            "candle",
            "capsules",
            "cashew",
            "chewinggum",
            "fryum",
            "macaroni1",
            "macaroni2",
            "pcb1",
            "pcb2",
            "pcb3",
            "pcb4",
            "pipe_fryum",
        ),
    ),
    "btad": Source(
        title="BTAD (beanTech)",
        homepage="https://avires.dimi.uniud.it/papers/btad/",
        licence=CC_BY_NC_SA,
        host="https://avires.dimi.uniud.it",
        path="/papers/btad/btad.zip",
        kind="zip",
        sha256="461c9387e515bfed41ecaae07c50cf6b10def647b36c9e31d239ab2736b10d2a",
        folder="BTech_Dataset_transformed/{category}",
        beside=(),
        categories=("01", "02", "03"),
    ),
}


def find_source(name: str, category: str) -> Source:
    """Give the public source that has this category.

    Raises:
        DatasetError: no such source or category; names those that are known.
    """
    if name not in SOURCES:
        raise DatasetError(f"source '{name}': unknown; wanted one of {', '.join(SOURCES)}")
    source = SOURCES[name]
    if category not in source.categories:
        raise DatasetError(
            f"{source.title}: no category '{category}'; wanted one of "
            f"{', '.join(source.categories)}"
        )
    return source


def fetch_category(
    source: Source,
    category: str,
    out: Path,
    *,
    base_url: str | None = None,
    sha256: str | None = None,
) -> Path:
    """Fetch one category into `out`/category, whole or not at all.

    The archive stays in `out` with its hash in NAME.sha256 and is used again. A download that broke
    off stays as NAME.partial and goes on where it stopped.

    Args:
        source: which data set, from `SOURCES`.
        category: one of the source's categories, see `find_source`.
        out: folder of archives and categories; made when missing.
        base_url: scheme and host of a mirror; the source's own otherwise.
        sha256: hash that the archive must have; the source's own otherwise.

    Returns:
        `out`/category, ready for `inspection.data.check.check_dataset`.

    Raises:
        DatasetError: no connection, wrong hash, or an archive that is damaged, unsafe or without
            the category; nothing that could be taken for whole is left.
        InspectionError: `out`/category exists already.
    """
    archive = out / PurePosixPath(source.path).name
    url = (base_url or source.host).rstrip("/") + source.path
    with new_folder(out / category) as building:
        _obtain(url, archive, sha256 or source.sha256)
        folders = {source.folder.format(category=category): ""} | {
            name: name for name in source.beside
        }
        if not extract_folders(archive, source.kind, folders, building):
            raise DatasetError(f"{archive}: holds no '{category}'; fetch it from {source.homepage}")
    return out / category


def _obtain(url: str, archive: Path, expected: str | None) -> None:
    """Have the archive on disk, with the hash that was expected or recorded before."""
    record = archive.with_name(f"{archive.name}.sha256")
    partial = archive.with_name(f"{archive.name}.partial")
    if archive.is_file():
        recorded = _noted(record).split()[:1]
        _require_hash(archive, expected or "".join(recorded) or None)
        return
    _download(url, partial, trusted=expected is not None)
    try:
        found = _require_hash(partial, expected)
    except DatasetError:
        partial.unlink()
        raise
    write_text(record, f"{found}  {archive.name}\n")
    partial.replace(archive)


def _noted(path: Path) -> str:
    """Give what an earlier try wrote beside the archive; nothing where it did not come so far."""
    return read_file(path, MAX_TEXT_BYTES).decode() if path.is_file() else ""


def _require_hash(path: Path, expected: str | None) -> str:
    found = hash_file(path)
    if expected is not None and found != expected.lower():
        raise DatasetError(
            f"{path}: sha256 is {found}; wanted {expected}; remove it and fetch again, or check "
            "the hash on the homepage"
        )
    return found


def _download(url: str, partial: Path, *, trusted: bool) -> None:
    """Stream a file, going on behind what an earlier try left when that is safe.

    Args:
        url: what to fetch.
        partial: where the bytes are kept between tries.
        trusted: a known hash will be checked, so bytes of a changed file cannot go unnoticed.
    """
    stamp = partial.with_name(f"{partial.name}.stamp")  # ETag or date of what was begun
    stamped = _noted(stamp)
    start = partial.stat().st_size if partial.is_file() and (stamped or trusted) else 0
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-"} | ({"If-Range": stamped} if stamped else {})
    try:
        with (
            httpx.Client(follow_redirects=True, timeout=TIMEOUT_S) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            _receive(response, partial, stamp, start)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        kept = partial.stat().st_size if partial.is_file() else 0
        raise DatasetError(
            f"{url}: connection failed ({error or type(error).__name__}); {kept:,} bytes are kept; "
            "run the command again to go on"
        ) from error
    stamp.unlink(missing_ok=True)


def _receive(response: httpx.Response, partial: Path, stamp: Path, start: int) -> None:
    """Write the body behind the first `start` bytes, or from the beginning."""
    first, total = _range_of(response)
    if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and total == start > 0:
        return  # it was complete before the process ended
    stale = response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE or first > start
    if stale:
        partial.unlink(missing_ok=True)  # it cannot be continued
    if stale or response.status_code not in {httpx.codes.OK, httpx.codes.PARTIAL_CONTENT}:
        raise DatasetError(
            f"{response.url}: server answered {response.status_code}; wanted the file; run the "
            "command again or name a mirror"
        )
    partial.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(_strong_stamp(response), encoding="utf-8")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with (
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
        partial.open("r+b" if first else "wb") as file,
    ):
        task = progress.add_task("fetch", total=total, completed=first)
        file.seek(first)
        for chunk in response.iter_raw():  # as it arrives: a cut loses nothing that was received
            file.write(chunk)
            progress.advance(task, len(chunk))
        file.truncate()


def _strong_stamp(response: httpx.Response) -> str:
    """Give what names this very version of the file: a strong ETag, or its date."""
    tag: str = response.headers.get("ETag", "")
    date: str = response.headers.get("Last-Modified", "")
    return date if not tag or tag.startswith("W/") else tag


def _range_of(response: httpx.Response) -> tuple[int, int | None]:
    """Give the first byte that follows and the size of the whole file, if the server says it."""
    text = response.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", text)
    if found is None:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    first, total = found.groups()
    return int(first or 0), int(total) if total != "*" else None
