"""Seals a bundle by SHA256SUMS and a signature, and its gate record by a signature of its own.

What export wrote never changes afterwards. The gate adds one file, `gate.json`, written at once.
"""

from pathlib import Path

from pydantic import ValidationError

from inspection.bundles.signing import Signature, SignedText, check_signature, sign_text
from inspection.core.errors import BundleCorrupt, BundleError, InspectionError
from inspection.core.gate import GateRecord
from inspection.core.records import hash_file, parse_record, write_record

SUMS, SIGNATURE, GATE = "SHA256SUMS", "signature.json", "gate.json"
UNSEALED = {SUMS, SIGNATURE, GATE, f".{GATE}.partial"}  # the last is what a killed gate leaves


def seal_bundle(folder: Path) -> None:
    """Write SHA256SUMS over every file of the folder, and its signature."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    sums = "".join(
        f"{hash_file(path)}  {name}\n" for name, path in names.items() if name not in UNSEALED
    )
    (folder / SUMS).write_text(sums, encoding="utf-8")
    write_record(folder / SIGNATURE, sign_text(sums))


def verify_bundle(folder: Path, trusted_keys: tuple[str, ...] = ()) -> str:
    """Check every byte of a bundle against its sums, and the sums against their signature.

    Returns:
        The bundle's id: the sha256 of SHA256SUMS.

    Raises:
        BundleError: no bundle, or signed by a key that is not trusted.
        BundleCorrupt: naming every file that differs, is missing or was added.
    """
    if not (folder / SUMS).is_file():
        raise BundleError(f"{folder}: no {SUMS} here; wanted a bundle made by inspection export")
    try:
        sums = (folder / SUMS).read_bytes().decode()  # as signed, line ends too
        text = (folder / SIGNATURE).read_text(encoding="utf-8")
        signature = Signature.model_validate_json(text)
        pairs = [line.split("  ", 1) for line in sums.splitlines()]
        wanted = {name: digest for digest, name in pairs}
    except (OSError, ValidationError, ValueError) as error:
        raise BundleCorrupt(
            f"{folder}: seal is damaged; copy the bundle again ({error})"
        ) from error
    check_signature(sums, signature, trusted_keys, str(folder))
    try:
        problems = _differences(folder, wanted)
    except OSError as error:
        raise BundleCorrupt(f"{folder}: cannot be read ({error}); copy the bundle again") from error
    if problems:
        raise BundleCorrupt(f"{folder}: {'; '.join(problems)}; copy the bundle again")
    return hash_file(folder / SUMS)


def _differences(folder: Path, wanted: dict[str, str]) -> list[str]:
    found = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() or path.is_symlink()
    } - UNSEALED
    problems = [f"'{name}' is missing" for name in sorted(wanted.keys() - found)]
    problems += [f"'{name}' was added" for name in sorted(found - wanted.keys())]
    present = sorted(wanted.keys() & found)
    problems += [
        f"'{name}' was changed"
        for name in present
        if (folder / name).is_symlink() or hash_file(folder / name) != wanted[name]
    ]
    return problems


def write_gate(folder: Path, record: GateRecord) -> None:
    """Write the gate's record beside the sealed files, signed, whole or not at all."""
    text = record.model_dump_json()
    write_record(folder / GATE, SignedText(text=text, signature=sign_text(text)))


def read_gate(
    folder: Path, bundle_id: str, trusted_keys: tuple[str, ...] = ()
) -> GateRecord | None:
    """Read the gate's record of this very bundle; none when it was never put to the gate.

    Raises:
        BundleCorrupt: the record is damaged or belongs to another bundle.
    """
    path = folder / GATE
    if not path.exists():
        return None
    try:
        signed = SignedText.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, ValueError) as error:
        raise BundleCorrupt(f"{path}: damaged; run inspection gate again") from error
    check_signature(signed.text, signed.signature, trusted_keys, str(path))
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
