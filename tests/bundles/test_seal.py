"""The seal: one byte, one file more or less, one stranger's key, and the bundle stays shut."""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader
from pathlib import Path

import pytest

from inspection.bundles.bundle import open_bundle
from inspection.bundles.seal import (
    GATE,
    SIGNATURE,
    SUMS,
    read_gate,
    seal_bundle,
    verify_bundle,
    write_gate,
)
from inspection.bundles.signing import KEYS_VARIABLE, Purpose, own_keys, sign_text
from inspection.core import limits
from inspection.core.errors import BundleCorrupt, BundleError, GateRefused
from inspection.core.records import hash_file
from tests.bundles.conftest import make_gate, pass_gate, seal_again

pytestmark = pytest.mark.fast

SEALED = ("card.json", "golden/00.png", "golden/01.png", "golden/maps.npz")
SEALED = (*SEALED, "model.bin", "model.xml")


def _flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))


def test_id_is_the_hash_of_the_sums_and_lists_every_file(bundle: Path):
    """A sound bundle gives its id; SHA256SUMS is what sha256sum would print, sorted."""
    assert verify_bundle(bundle) == hash_file(bundle / SUMS)
    lines = [f"{hash_file(bundle / name)}  {name}" for name in SEALED]
    assert (bundle / SUMS).read_text().splitlines() == lines


@pytest.mark.parametrize("place", [0, -1], ids=["first byte", "last byte"])
@pytest.mark.parametrize("name", SEALED)
def test_one_changed_byte_is_refused_and_its_file_named(bundle: Path, name, place):
    """One bit of any sealed file, and the bundle is refused naming that file only."""
    _flip(bundle / name, place)
    message = f"{bundle}: '{name}' was changed; copy the bundle again"
    with pytest.raises(BundleCorrupt, match=f"^{re.escape(message)}$"):
        open_bundle(bundle)


@pytest.mark.parametrize("place", [0, 70, -1])
def test_one_changed_byte_of_the_sums_is_refused(bundle: Path, place):
    """The sums themselves are signed, their last line end too."""
    _flip(bundle / SUMS, place)
    with pytest.raises(BundleCorrupt, match=rf"^{re.escape(str(bundle))}: s(ignature|eal)"):
        verify_bundle(bundle)


def test_other_line_ends_are_other_bytes(bundle: Path):
    """Sums rewritten with CRLF are none."""
    text = (bundle / SUMS).read_bytes()
    (bundle / SUMS).write_bytes(text.replace(b"\n", b"\r\n"))
    with pytest.raises(BundleCorrupt, match="seal is damaged"):
        verify_bundle(bundle)


@pytest.mark.parametrize("key", ["public_key", "signature"])
def test_one_changed_digit_of_the_signature_is_refused(bundle: Path, key):
    """Neither half of signature.json can be another."""
    claim = json.loads((bundle / SIGNATURE).read_text())
    claim[key] = ("0" if claim[key][0] != "0" else "1") + claim[key][1:]
    (bundle / SIGNATURE).write_text(json.dumps(claim))
    with pytest.raises(BundleCorrupt, match=f"{bundle}: signature does not fit its content"):
        verify_bundle(bundle)


SPOILT_SEALS = {
    "no signature": lambda folder: (folder / SIGNATURE).unlink(),
    "empty signature": lambda folder: (folder / SIGNATURE).write_text(""),
    "signature with more to say": lambda folder: (folder / SIGNATURE).write_text(
        (folder / SIGNATURE).read_text().replace("{", '{"trusted": true,', 1)
    ),
    "signature not UTF-8": lambda folder: (folder / SIGNATURE).write_bytes(b"\xff"),
    "sums not UTF-8": lambda folder: (folder / SUMS).write_bytes(b"\xff"),
    "sums without names": lambda folder: (folder / SUMS).write_text("abc\n"),
}


@pytest.mark.parametrize("spoil", SPOILT_SEALS.values(), ids=SPOILT_SEALS)
def test_damaged_seal_is_refused(bundle: Path, spoil):
    """A seal that cannot be read is refused as damaged, never skipped."""
    spoil(bundle)
    with pytest.raises(BundleCorrupt, match=f"{bundle}: seal is damaged; copy the bundle again"):
        verify_bundle(bundle)


@pytest.mark.parametrize("name", ["extra.bin", "golden/02.png", "golden/gate.json", ".hidden"])
def test_added_file_is_refused_and_named(bundle: Path, name):
    """A file that was not sealed, however it is called, shuts the bundle."""
    (bundle / name).write_text("x")
    with pytest.raises(BundleCorrupt, match=f"{bundle}: '{re.escape(name)}' was added; copy"):
        verify_bundle(bundle)


@pytest.mark.parametrize("name", SEALED)
def test_removed_file_is_refused_and_named(bundle: Path, name):
    """A sealed file that is gone shuts the bundle."""
    (bundle / name).unlink()
    with pytest.raises(BundleCorrupt, match=f"{bundle}: '{re.escape(name)}' is missing; copy"):
        verify_bundle(bundle)


def test_every_difference_is_named_at_once(bundle: Path):
    """Missing, added and changed files stand in one message, each kind sorted."""
    (bundle / "model.bin").unlink()
    (bundle / "b").write_text("")
    (bundle / "a").write_text("")
    _flip(bundle / "card.json", 0)
    message = "'model.bin' is missing; 'a' was added; 'b' was added; 'card.json' was changed; copy"
    with pytest.raises(BundleCorrupt, match=re.escape(message)):
        verify_bundle(bundle)


def test_a_link_in_place_of_a_file_is_refused_though_its_target_fits(bundle: Path, tmp_path: Path):
    """What a link points to can change after the check, so a link is never a sealed file."""
    (bundle / "model.bin").rename(tmp_path / "model.bin")
    (bundle / "model.bin").symlink_to(tmp_path / "model.bin")
    with pytest.raises(BundleCorrupt, match=r"'model\.bin' was changed"):
        verify_bundle(bundle)


@pytest.mark.parametrize("target", ["gone", "model.bin", "."], ids=["nothing", "a loop", "itself"])
def test_links_to_nowhere_are_refused_without_reading_them(bundle: Path, target):
    """A dangling link, a link to itself and a link to the folder are refused by name."""
    (bundle / "model.bin").unlink()
    (bundle / "model.bin").symlink_to(target)
    with pytest.raises(BundleCorrupt, match=r"'model\.bin' was changed"):
        verify_bundle(bundle)


def test_a_linked_folder_is_refused(bundle: Path, tmp_path: Path):
    """A link in place of a folder counts as added, and the files behind it as missing."""
    (bundle / "golden").rename(tmp_path / "golden")
    (bundle / "golden").symlink_to(tmp_path / "golden")
    with pytest.raises(BundleCorrupt, match=r"'golden/00\.png' is missing.*'golden' was added"):
        verify_bundle(bundle)


@pytest.mark.parametrize(
    "line",
    [
        f"{'0' * 64}  model.bin\n",
        f"{'0' * 64}  a\u2028{'0' * 64}  b\n",
        f"{'0' * 64}  a\u0085b\n",
        f"{'0' * 64}  a\x1cb\n",
        f"{'0' * 64}  a\tb\n",
        f"{'0' * 64}  ../a\n",
        f"{'0' * 64}  /a\n",
        f"{'0' * 64}   a\n",
        f"{'0' * 63}  a\n",
        f"{'F' * 64}  a\n",
        f"{'0' * 64}  SHA256SUMS\n",
        f"{'0' * 64}  a",
        "\n",
    ],
    ids=ascii,
)
def test_signed_sums_that_read_as_two_things_are_refused(bundle: Path, line: str):
    """Lines end at a line feed alone, and say one thing of each file."""
    _sign_sums(bundle, (bundle / SUMS).read_text() + line)
    with pytest.raises(BundleCorrupt, match="seal is damaged"):
        verify_bundle(bundle)


def test_file_whose_name_reads_as_a_line_is_not_sealed(bundle: Path):
    """Sealing refuses what verifying would."""
    (bundle / f"a\u2028{'0' * 64}  b").write_text("x")
    with pytest.raises(ValueError, match="is none of a SHA256SUMS"):
        seal_bundle(bundle)


def _sign_sums(folder: Path, sums: str) -> None:
    """Write other sums, signed by this machine's key."""
    (folder / SUMS).write_text(sums)
    (folder / SIGNATURE).write_text(sign_text(Purpose.BUNDLE, sums).model_dump_json())


def test_no_bundle_is_said(tmp_path: Path):
    """A folder without sums, a file and nothing at all are no bundles."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file", tmp_path / "gone"):
        with pytest.raises(BundleError, match=f"{path}: no SHA256SUMS here; wanted a bundle made"):
            verify_bundle(path)


def test_stranger_can_seal_but_is_not_trusted(bundle: Path, tmp_path: Path, monkeypatch):
    """A bundle changed and sealed by another key is sound, but shut to who lists trusted keys."""
    owner = own_keys()
    assert verify_bundle(bundle, owner) == verify_bundle(bundle)
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "strange"))
    (bundle / "model.bin").write_bytes(b"evil")
    (bundle / GATE).unlink()
    seal_again(bundle)
    stranger = next(one for one in own_keys() if one.startswith("bundle:"))
    assert verify_bundle(bundle) == hash_file(bundle / SUMS)
    with pytest.raises(BundleError, match=f"signed by {stranger}, which is not among the trusted"):
        verify_bundle(bundle, owner)


def test_gate_of_a_stranger_is_not_trusted(bundle: Path, tmp_path: Path, monkeypatch):
    """A trusted bundle with a gate record by another key stays shut."""
    owner = own_keys()
    (bundle / GATE).unlink()
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "strange"))
    pass_gate(bundle)
    assert open_bundle(bundle).gate.passed
    with pytest.raises(BundleError, match=r"gate\.json: signed by .* not among the trusted keys"):
        open_bundle(bundle, trusted_keys=owner)


def test_sealing_twice_gives_the_same_seal(bundle: Path):
    """The seal never covers itself or the gate, so sealing again changes nothing."""
    before = verify_bundle(bundle)
    seal_bundle(bundle)
    assert verify_bundle(bundle) == before


def test_unreadable_bundle_is_corrupt_and_no_traceback(bundle: Path, monkeypatch):
    """A disk that cannot give a file's bytes is told as a bundle that cannot be read."""
    seen = []

    def broken(path: Path) -> BufferedReader:
        seen.append(path.name)
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr("inspection.bundles.seal.open_file", broken)
    with pytest.raises(BundleCorrupt, match=f"{bundle}: cannot be read .*Input/output error"):
        verify_bundle(bundle)
    assert seen == ["card.json"]


ODD = {
    "FIFO": os.mkfifo,
    "folder": os.mkdir,
    "link to the file itself": lambda path: path.symlink_to(path.rename(path.parents[1] / "x")),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "sparse file": lambda path: os.truncate(path, 3_000_000_000),
}


@pytest.mark.parametrize("name", ["card.json", "model.bin", "golden/00.png", SUMS, SIGNATURE, GATE])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_what_is_no_file_of_a_bundle_is_refused_unread(bundle: Path, name: str, odd):
    """A FIFO, a folder, a link, a device and a giant of 3 GB are neither waited for nor read."""
    if odd in {os.mkfifo, os.mkdir, ODD["device"]}:
        (bundle / name).unlink()
    odd(bundle / name)
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(open_bundle, bundle)
        with pytest.raises(BundleError, match=r"missing|changed|damaged|no SHA256SUMS here"):
            opening.result(60)


def test_folder_of_endless_entries_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    """Nobody lists more entries than a bundle may have, in however many folders they lie."""
    monkeypatch.setattr(limits, "MAX_ENTRIES", 20)
    for number in range(6):
        (bundle / f"more/{number}/{number}").mkdir(parents=True)
    with pytest.raises(BundleCorrupt, match=r"cannot be read .*holds more than 20 entries"):
        verify_bundle(bundle)


def test_gate_record_comes_back(bundle: Path):
    """What the gate wrote is read for the same bundle; before the gate there is none."""
    bundle_id = verify_bundle(bundle)
    assert read_gate(bundle, bundle_id) == make_gate(bundle_id)
    (bundle / GATE).unlink()
    assert read_gate(bundle, bundle_id) is None


def test_gate_does_not_change_the_bundles_id(bundle: Path):
    """Gating again adds no other file and keeps the id."""
    before = verify_bundle(bundle)
    write_gate(bundle, make_gate(before, passed=False, refusals=("AUROC 0.5",)))
    assert verify_bundle(bundle) == before


def test_gate_killed_while_writing_leaves_a_sound_bundle(bundle: Path):
    """The hidden rest of a killed gate is neither a change of the bundle nor a gate record."""
    (bundle / GATE).rename(bundle / f".{GATE}.partial")
    bundle_id = verify_bundle(bundle)
    assert read_gate(bundle, bundle_id) is None
    seal_bundle(bundle)
    assert verify_bundle(bundle) == bundle_id
    write_gate(bundle, make_gate(bundle_id))
    assert not (bundle / f".{GATE}.partial").exists()


def test_gate_of_another_bundle_is_refused(bundle: Path):
    """A gate record copied from a sister bundle is refused with both ids."""
    write_gate(bundle, make_gate("ab" * 32))
    here = verify_bundle(bundle)[:12]
    message = rf"gate\.json: belongs to bundle abababababab, this is {here}; run inspection gate"
    with pytest.raises(BundleCorrupt, match=message):
        open_bundle(bundle)


def _swap(old: str, new: str):
    def spoil(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return spoil


TAMPERED = {
    "refused turned into passed": (_swap('\\"passed\\":true', '\\"passed\\":null'), "signature do"),
    "evidence": (_swap("test defects", "real defects"), "signature does not fit its content"),
    "one space": (_swap('"text": "{', '"text": " {'), "signature does not fit its content"),
    "cut": (lambda path: path.write_text(path.read_text()[:-30]), "damaged; run inspection gate"),
    "empty": (lambda path: path.write_text(""), "damaged; run inspection gate again"),
    "not UTF-8": (lambda path: path.write_bytes(b"\xff\xfe"), "damaged; run inspection gate again"),
}


@pytest.mark.parametrize(("spoil", "message"), TAMPERED.values(), ids=TAMPERED)
def test_tampered_gate_record_is_refused(bundle: Path, spoil, message):
    """A gate record that is not the one signed is refused, at a desk too."""
    spoil(bundle / GATE)
    for allow_refused in (False, True):
        with pytest.raises(BundleCorrupt, match=rf"gate\.json: {message}"):
            open_bundle(bundle, allow_refused=allow_refused)


def test_gate_of_a_newer_program_is_refused(bundle: Path):
    """A signed gate record of a newer schema is refused with the version."""
    write_gate(bundle, make_gate(verify_bundle(bundle)).model_copy(update={"schema_version": 9}))
    with pytest.raises(BundleCorrupt, match="GateRecord of schema 9; this program reads up to 1"):
        open_bundle(bundle)


def test_bundle_without_gate_is_for_the_desk_only(bundle: Path):
    """A bundle that was never gated opens for inspection only, and has no gate record."""
    (bundle / GATE).unlink()
    with pytest.raises(GateRefused, match=f"{bundle}: was never put to the gate; run inspection"):
        open_bundle(bundle)
    assert open_bundle(bundle, allow_refused=True).gate is None


def test_refused_bundle_is_for_the_desk_only(bundle: Path):
    """A refused bundle is not opened, and the numbers of the refusal are told."""
    refusals = ("image AUROC 0.51 < 0.7", "map correlation 0.2 < 0.8")
    write_gate(bundle, make_gate(verify_bundle(bundle), passed=False, refusals=refusals))
    message = "the gate refused it (image AUROC 0.51 < 0.7; map correlation 0.2 < 0.8); train or"
    with pytest.raises(GateRefused, match=re.escape(message)):
        open_bundle(bundle)
    assert open_bundle(bundle, allow_refused=True).gate.refusals == refusals


def test_bundle_reached_by_a_link_is_sound(bundle: Path, tmp_path: Path):
    """The folder itself may be reached by a link, as a station's current bundle is."""
    (tmp_path / "current").symlink_to(bundle)
    assert verify_bundle(tmp_path / "current") == verify_bundle(bundle)
