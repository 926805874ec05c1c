"""Seals a bundle by SHA256SUMS and a signature, and its gate record by a signature of its own.

What export wrote never changes afterwards. The gate adds one file, `gate.json`, written at once.
"""

import errno
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from inspection.bundles.signing import (
    Purpose,
    Signature,
    SignedText,
    check_signature,
    sign,
    sign_text,
)
from inspection.core.errors import (
    BundleCorrupt,
    BundleError,
    BundleUnavailable,
    InspectionError,
)
from inspection.core.gate import GateRecord
from inspection.core.limits import (
    MAX_GATE_BYTES,
    MAX_GRAPH_BYTES,
    MAX_SIGNATURE_BYTES,
    MAX_SUMS_BYTES,
    NOT_A_FILE,
    open_file,
    read_file,
    walk_folder,
)
from inspection.core.records import hash_file, parse_record, write_record

SUMS, SIGNATURE, GATE = "SHA256SUMS", "signature.json", "gate.json"
LINE = re.compile(r"([0-9a-f]{64})  ([^\n]{1,500})")
MAX_FILES = 10_000
UNSEALED = {SUMS, SIGNATURE, GATE, f".{GATE}.partial"}  # the last is what a killed gate leaves


def seal_bundle(folder: Path) -> None:
    """Write SHA256SUMS over every file of the folder, and its signature."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    sums = "".join(
        f"{hash_file(path)}  {name}\n" for name, path in names.items() if name not in UNSEALED
    )
    parse_sums(sums.encode())
    (folder / SUMS).write_text(sums, encoding="utf-8")
    write_record(folder / SIGNATURE, sign_text(Purpose.BUNDLE, sums))


def parse_sums(content: bytes) -> dict[str, str]:
    """Read SHA256SUMS: the sha256 of each file by its POSIX path, relative to the folder.

    Raises:
        ValueError: a line is not 64 hexadecimal digits, two spaces and a path that stays below the
            folder and holds printable characters only; a path stands twice; or there are too many.
    """
    *lines, last = content.decode().split("\n")
    sums: dict[str, str] = {}
    for line in lines:
        found = LINE.fullmatch(line)
        name = found[2] if found else ""
        if found is None or name in sums or not _stays_inside(name):
            raise ValueError(f"line {line[:200]!r} is none of a {SUMS}")
        sums[name] = found[1]
    if last or len(sums) > MAX_FILES:
        raise ValueError(f"{len(sums):,} files, then {last[:200]!r}; expected whole lines")
    return sums


def _stays_inside(name: str) -> bool:
    """Say whether a name is a plain relative path below the bundle's folder."""
    path = PurePosixPath(name)
    plain = name == path.as_posix() and name.isprintable() and name == name.strip()
    return (
        plain and not path.is_absolute() and ".." not in path.parts and name not in {".", *UNSEALED}
    )


@dataclass(frozen=True)
class Sealed:
    """A folder whose sums are signed; its files are read only as those say."""

    folder: Path
    bundle_id: str
    """The sha256 of SHA256SUMS."""
    sums: Mapping[str, str]
    """The sha256 of every file by its POSIX path."""

    def read(self, name: str, max_bytes: int = MAX_GRAPH_BYTES) -> bytes:
        """Read one file; the bytes that are given are those that were signed.

        Raises:
            BundleCorrupt: it is not part of the bundle, or was changed since it was verified.
            BundleUnavailable: the disk refuses it now.
        """
        try:
            content = read_file(self.folder / name, max_bytes)
        except OSError as error:
            gone = error.errno in {errno.ENOENT, *NOT_A_FILE}
            kind = BundleCorrupt if gone else BundleUnavailable
            raise kind(f"{self.folder}: '{name}' cannot be read ({error})") from error
        if hashlib.sha256(content).hexdigest() != self.sums.get(name):
            raise BundleCorrupt(
                f"{self.folder}: '{name}' was changed since it was verified; copy the bundle again"
            )
        return content


def verify_bundle(folder: Path, trusted_keys: tuple[str, ...] | None = None) -> str:
    """Check a bundle as `open_sealed` does, and give its id."""
    return open_sealed(folder, trusted_keys).bundle_id


def open_sealed(folder: Path, trusted_keys: tuple[str, ...] | None = None) -> Sealed:
    """Check every byte of a bundle against its sums, and the sums against their signature.

    Raises:
        BundleError: no bundle, or signed by a key that is not trusted.
        BundleCorrupt: naming every file that differs, is missing or was added.
    """
    sealed = open_sums(folder, trusted_keys)
    try:
        problems = _differences(folder, sealed.sums)
    except OSError as error:
        raise BundleCorrupt(f"{folder}: cannot be read ({error}); copy the bundle again") from error
    if problems:
        raise BundleCorrupt(f"{folder}: {'; '.join(problems)}; copy the bundle again")
    return sealed


def open_sums(folder: Path, trusted_keys: tuple[str, ...] | None = None) -> Sealed:
    """Check the sums of a bundle against their signature; no other file is looked at.

    Raises:
        BundleError: no bundle, or signed by a key that is not trusted.
        BundleCorrupt: sums or signature are damaged, or do not fit each other.
    """
    if not (folder / SUMS).is_file():
        raise BundleError(f"{folder}: no {SUMS} here; wanted a bundle made by inspection export")
    try:
        sums = read_file(folder / SUMS, MAX_SUMS_BYTES).decode()  # as signed, line ends too
        text = read_file(folder / SIGNATURE, MAX_SIGNATURE_BYTES).decode()
        signature = Signature.model_validate_json(text)
        wanted = parse_sums(sums.encode())
    except (OSError, ValidationError, ValueError) as error:
        raise BundleCorrupt(
            f"{folder}: seal is damaged; copy the bundle again ({error})"
        ) from error
    check_signature(Purpose.BUNDLE, sums, signature, trusted_keys, str(folder))
    return Sealed(folder, hashlib.sha256(sums.encode()).hexdigest(), wanted)


def _differences(folder: Path, wanted: Mapping[str, str]) -> list[str]:
    found = {
        path.relative_to(folder).as_posix()
        for path in walk_folder(folder)
        if not path.is_dir() or path.is_symlink()
    } - UNSEALED
    problems = [f"'{name}' is missing" for name in sorted(wanted.keys() - found)]
    problems += [f"'{name}' was added" for name in sorted(found - wanted.keys())]
    present = sorted(wanted.keys() & found)
    problems += [
        f"'{name}' was changed" for name in present if _hash(folder / name) != wanted[name]
    ]
    return problems


def _hash(path: Path) -> str:
    """Hash a file; empty for what is no file of a bundle, such as a link or a FIFO."""
    try:
        with open_file(path) as stream:
            if os.fstat(stream.fileno()).st_size > MAX_GRAPH_BYTES:
                return ""
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        if error.errno in NOT_A_FILE:
            return ""
        raise


def write_gate(folder: Path, record: GateRecord) -> None:
    """Write the gate's record beside the sealed files, signed, whole or not at all."""
    text = record.model_dump_json()
    write_record(folder / GATE, sign(Purpose.GATE, text))


def read_gate(
    folder: Path, bundle_id: str, trusted_keys: tuple[str, ...] | None = None
) -> GateRecord | None:
    """Read the gate's record of this very bundle; none when it was never put to the gate.

    Raises:
        BundleCorrupt: the record is damaged or belongs to another bundle.
    """
    path = folder / GATE
    if not path.exists():
        return None
    try:
        signed = SignedText.model_validate_json(read_file(path, MAX_GATE_BYTES))
    except (OSError, ValidationError, ValueError) as error:
        raise BundleCorrupt(f"{path}: damaged; run inspection gate again") from error
    check_signature(Purpose.GATE, signed.text, signed.signature, trusted_keys, str(path))
    try:
        record = parse_record(signed.text, GateRecord, str(path))
    except InspectionError as error:
        raise BundleCorrupt(str(error)) from error
    if record.bundle_id != bundle_id:
        raise BundleCorrupt(
            f"{path}: belongs to bundle {record.bundle_id[:12]}, this is {bundle_id[:12]}; "
            "run inspection gate again"
        )
    return record
