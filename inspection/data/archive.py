"""Takes one folder out of a tar or zip archive, trusting nothing in it.

Refuses names that leave the target, links, devices and more bytes than a bound; writes the files
itself, so that no archive decides where.
"""

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from inspection.core.errors import DatasetError

ArchiveKind = Literal["tar", "zip"]

BYTES_LIMIT = 40 * 2**30  # VisA, the largest source, unpacks to about 2 GiB, MVTec AD to 5 GiB
MEMBERS_LIMIT = 1_000_000


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    kind: Literal["file", "folder", "other"]
    stream: IO[bytes] | None


def extract_folders(
    archive: Path,
    kind: ArchiveKind,
    folders: dict[str, str],
    out: Path,
    *,
    bytes_limit: int = BYTES_LIMIT,
) -> int:
    """Write the files below some folders of an archive; the name of every member is checked.

    Args:
        archive: the file to read.
        kind: how to read it; tar may be compressed by xz, gzip or bzip2.
        folders: folder or file in the archive, to its place below `out`; '' is `out` itself.
        out: existing folder to write into.
        bytes_limit: most bytes that all members may have together.

    Returns:
        How many files were written.

    Raises:
        DatasetError: damaged, or with a member that is no plain file or folder, leaves the target,
            stands twice, or goes beyond the bounds.
    """
    total, written = 0, 0
    try:
        for count, member in enumerate(_members(archive, kind), start=1):
            total += member.size
            _require_safe(archive, member)
            if total > bytes_limit or count > MEMBERS_LIMIT:
                raise DatasetError(
                    f"{archive}: unpacks to more than {bytes_limit:,} bytes or {MEMBERS_LIMIT:,} "
                    "files; wanted a data set; fetch it from its homepage"
                )
            target = _target(member.name, folders)
            if target is not None and member.stream is not None:
                _write(member.stream, out / target)
                written += 1
    except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError) as error:
        raise DatasetError(f"{archive}: damaged archive ({error}); fetch it again") from error
    except FileExistsError as error:
        raise DatasetError(
            f"{archive}: holds '{error.filename}' twice; wanted each file once; fetch it again"
        ) from error
    return written


def _members(archive: Path, kind: ArchiveKind) -> Iterator[_Member]:
    return _zip_members(archive) if kind == "zip" else _tar_members(archive)


def _tar_members(archive: Path) -> Iterator[_Member]:
    with tarfile.open(archive, "r|*") as tar:  # one pass: unpacking xz twice takes minutes
        for info in tar:
            plain: Literal["file", "folder", "other"] = "folder" if info.isdir() else "other"
            stream = tar.extractfile(info) if info.isreg() else None
            yield _Member(info.name, info.size, "file" if info.isreg() else plain, stream)


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as packed:
        for info in packed.infolist():
            if info.is_dir():
                yield _Member(info.filename, 0, "folder", None)
            elif (info.external_attr >> 28) not in {0, 0o10}:  # Unix file type: 0o10 is a file
                yield _Member(info.filename, 0, "other", None)
            else:
                with closing(packed.open(info)) as stream:
                    yield _Member(info.filename, info.file_size, "file", stream)


def _require_safe(archive: Path, member: _Member) -> None:
    name = PurePosixPath(member.name)
    if member.kind == "other":
        raise DatasetError(
            f"{archive}: '{member.name}' is a link or a device; wanted files and folders only; "
            "nothing was taken from it"
        )
    if name.is_absolute() or ".." in name.parts or set("\\:\0") & set(member.name):
        raise DatasetError(
            f"{archive}: '{member.name}' leaves the target folder; wanted names below it; nothing "
            "was taken from it"
        )


def _target(name: str, folders: dict[str, str]) -> PurePosixPath | None:
    """Give the place of a member below the target; none when it is not wanted."""
    path = PurePosixPath(name)
    for source, destination in folders.items():
        if path.is_relative_to(source):
            return PurePosixPath(destination) / path.relative_to(source)
    return None


def _write(stream: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        shutil.copyfileobj(stream, file, 2**20)
