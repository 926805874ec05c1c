"""Lists the bundles of a folder, sound or not, for people and machines."""

from dataclasses import dataclass
from pathlib import Path

from inspection.bundles.bundle import read_card
from inspection.bundles.seal import SUMS, read_gate, verify_bundle
from inspection.core.errors import BundleError


@dataclass(frozen=True)
class Listed:
    """One bundle of a folder and what stands against it, if anything."""

    path: Path
    name: str
    bundle_id: str
    state: str  # passed, refused, not gated, or the error


def list_bundles(folder: Path) -> tuple[Listed, ...]:
    """List every bundle directly in a folder, sorted by name; a damaged one is listed as such.

    Raises:
        BundleError: the folder does not exist.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such folder; name one that holds bundles")
    sealed = (path.parent for path in sorted(folder.glob(f"*/{SUMS}")))
    return tuple(_listed(path) for path in sealed if not path.name.startswith("."))  # unfinished


def _listed(path: Path) -> Listed:
    try:
        bundle_id = verify_bundle(path)
        card, gate = read_card(path), read_gate(path, bundle_id)
    except BundleError as error:
        return Listed(path, path.name, "", str(error))
    state = "not gated" if gate is None else "passed" if gate.passed else "refused"
    return Listed(path, card.name, bundle_id, state)
