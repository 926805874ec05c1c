"""Listing bundles: each with its state, a damaged one with what is wrong."""

import shutil
from pathlib import Path

import pytest

from inspection.bundles.seal import GATE, SIGNATURE, verify_bundle, write_gate
from inspection.bundles.store import Listed, list_bundles
from inspection.core.errors import BundleError
from inspection.core.records import write_record
from tests.bundles.conftest import make_card, make_gate, seal_again

pytestmark = pytest.mark.fast


def test_every_bundle_is_listed_with_its_state(bundle: Path):
    """Passed, refused, ungated and damaged bundles of one folder, sorted by folder name."""
    root = bundle.parent
    bundle_id = verify_bundle(bundle)
    refused, fresh, broken, headless = (
        shutil.copytree(bundle, root / name) for name in ("b", "c", "a", "d")
    )
    write_gate(refused, make_gate(bundle_id, passed=False, refusals=("AUROC",)))
    (fresh / GATE).unlink()
    (broken / "model.bin").write_bytes(b"x")
    (headless / SIGNATURE).unlink()
    (root / "notes").mkdir()
    (root / "notes.txt").write_text("")
    listed = list_bundles(root)
    assert listed[:3] == (
        Listed(broken, "a", "", f"{broken}: 'model.bin' was changed; copy the bundle again"),
        Listed(refused, "grey parts", bundle_id, "refused"),
        Listed(fresh, "grey parts", bundle_id, "not gated"),
    )
    assert listed[3].state.startswith(f"{headless}: seal is damaged; copy the bundle again")
    assert listed[4] == Listed(bundle, "grey parts", bundle_id, "passed")
    assert len(listed) == 5


def test_newer_card_is_listed_with_its_reason(bundle: Path):
    """A bundle of a newer program does not hide the others of the list."""
    write_record(bundle / "card.json", make_card().model_copy(update={"schema_version": 2}))
    seal_again(bundle)
    (listed,) = list_bundles(bundle.parent)
    assert listed.state.endswith("Card of schema 2; this program reads up to 1; update it")


def test_unfinished_bundle_is_not_listed(bundle: Path):
    """What a killed export left under its hidden name is no bundle, though it may be sealed."""
    bundle.rename(bundle.with_name(".grey.partial"))
    assert list_bundles(bundle.parent) == ()


def test_missing_folder_is_said(tmp_path: Path):
    """A folder that does not exist is not an empty list."""
    with pytest.raises(BundleError, match="gone: no such folder; name one that holds bundles"):
        list_bundles(tmp_path / "gone")
    assert list_bundles(tmp_path) == ()
