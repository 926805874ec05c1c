"""Everything that comes wrong from outside ends in one line, an exit code and no half result."""

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspection.bundles.seal import SIGNATURE, SUMS, seal_bundle
from tests.command import inspection
from tests.end_to_end.conftest import Line
from tests.end_to_end.settings import STATION

pytestmark = pytest.mark.usefixtures("alone")


def picture(mode: str = "RGB", level: int = 128) -> Image.Image:
    """Give a uniform non-square picture of a mode."""
    return Image.new(mode, (80, 64), level if mode in {"L", "I;16"} else (level,) * len(mode))


def save_truncated(path: Path) -> None:
    """Save a JPEG whose second half is missing."""
    whole = path.with_suffix(".whole.jpg")
    noise = np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8)
    Image.fromarray(noise).save(whole)
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    whole.unlink()


def save_huge(path: Path) -> None:
    """Save a PNG that says it has 20,000×20,000 px and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


UNJUDGEABLE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "truncated JPEG": ("a.jpg", save_truncated, "cannot be decoded"),
    "text named png": ("a.png", lambda path: path.write_text("hello"), "not an image file"),
    "1×1": ("a.png", lambda path: Image.new("RGB", (1, 1)).save(path), "1×1 px"),
    "20,000×20,000": ("a.png", save_huge, "20000×20000 px"),
    "empty file": ("a.png", lambda path: path.write_bytes(b""), "file is empty"),
    "missing file": ("a.png", lambda path: None, "cannot be read"),
}
JUDGEABLE = {
    "all black": ("a.png", lambda path: picture(level=0).save(path)),
    "16-bit": ("a.png", lambda path: picture("I;16", 40_000).save(path)),
    "CMYK": ("a.jpg", lambda path: picture("CMYK").save(path)),
}


@pytest.mark.parametrize("name", UNJUDGEABLE)
def test_what_cannot_be_judged_is_fault_and_the_next_part_is_judged(
    name: str, line: Line, tmp_path: Path
):
    """FAULT with its reason and exit 3, after all other parts were judged; it is never a pass."""
    file, save, reason = UNJUDGEABLE[name]
    save(tmp_path / file)
    good = line.images / "test/good/000.png"
    said = inspection("judge", line.bundle, tmp_path / file, good, "--json")
    fault, next_part = json.loads(said.out)["parts"]
    assert said.code == 3
    assert (fault["verdict"], fault["score"], fault["overlay"]) == ("FAULT", None, None)
    assert reason in fault["reason"]
    assert next_part["verdict"] != "FAULT"
    text = inspection("judge", line.bundle, tmp_path / file, good).out
    assert "1 FAULT" in text.splitlines()[-1]
    assert reason in text


@pytest.mark.parametrize("name", JUDGEABLE)
def test_odd_pixels_are_converted_by_rule_and_judged(name: str, line: Line, tmp_path: Path):
    """An all-black frame, 16 bits and CMYK get a verdict; a black frame is far from normal."""
    file, save = JUDGEABLE[name]
    save(tmp_path / file)
    said = inspection("judge", line.bundle, tmp_path / file, "--json")
    assert said.code == 0
    assert json.loads(said.out)["parts"][0]["verdict"] in {"REVIEW", "REJECT"}


def test_station_records_a_fault_for_each_bad_file(line: Line, tmp_path: Path):
    """Six bad files among two good ones: eight events, six of them FAULT, and the station ends."""
    source = tmp_path / "in"
    for number, (file, save, _) in enumerate(UNJUDGEABLE.values()):
        folder = source / str(number)
        folder.mkdir(parents=True)
        save(folder / file)
    shutil.copyfile(line.images / "test/good/000.png", source / "good.png")
    config = tmp_path / "station.yaml"
    config.write_text(STATION.format(bundle=line.bundle, source=source, data_dir=tmp_path / "data"))
    said = inspection("station", "run", config)
    assert said.code == 0, said.err
    events = [json.loads(text) for text in said.out.splitlines()]
    faults = [event for event in events if event["verdict"] == "FAULT"]
    assert (len(events), len(faults)) == (6, 5), "a missing file makes no event"
    assert all(event["reason"] for event in faults)


def test_training_on_a_changed_image_names_it(line: Line, manifest: Path, tmp_path: Path):
    """An image that changed since its manifest ends training with 2 and leaves no run."""
    images = shutil.copytree(line.images, tmp_path / "set")
    described = json.loads(manifest.read_text()) | {"root": str(images)}
    (tmp_path / "m.json").write_text(json.dumps(described))
    fitted = next(entry for entry in described["entries"] if entry["split"] == "fit")
    picture().save(images / fitted["path"])
    words = ("--data", tmp_path / "m.json", "--out", tmp_path / "run")
    said = inspection("train", line.train_config, *words)
    assert said.code == 2
    assert f"{fitted['path']}: sha256 is" in said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.json", "set"]


def test_a_bundle_with_one_byte_changed_is_not_verified(line: Line, tmp_path: Path):
    """One bit of any file: verify, judge and station end with 1 and name the file."""
    bundle = shutil.copytree(line.bundle, tmp_path / "bundle")
    weights = bytearray((bundle / "model.bin").read_bytes())
    weights[len(weights) // 2] ^= 1
    (bundle / "model.bin").write_bytes(weights)
    for words in (["bundle", "verify", bundle], ["judge", bundle, tmp_path / "x.png"]):
        said = inspection(*words)
        assert said.code == 1
        assert "'model.bin' was changed" in said.err
    assert "'model.bin' was changed" in inspection("bundle", "list", tmp_path).out


def test_a_card_from_a_newer_version_asks_for_an_update(line: Line, tmp_path: Path):
    """A properly sealed card of a later schema is refused with 1: update the program."""
    bundle = shutil.copytree(line.bundle, tmp_path / "bundle")
    card = json.loads((bundle / "card.json").read_text())
    (bundle / "card.json").write_text(json.dumps(card | {"schema_version": 99}))
    for name in (SUMS, SIGNATURE, "gate.json"):
        (bundle / name).unlink()
    seal_bundle(bundle)
    said = inspection("bundle", "verify", bundle)
    assert said.code == 1
    assert "Card of schema 99" in said.err
    assert "update it" in said.err


def test_an_unknown_signer_is_refused_when_keys_are_named(line: Line):
    """With --trusted-key only that key's bundles verify."""
    said = inspection("bundle", "verify", line.bundle, "--trusted-key", "00" * 32)
    assert said.code == 1
    assert "not among the trusted keys" in said.err


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("models: Patchcore\n", ":1: models: unknown key; did you mean 'model'?"),
        ("seed: 1\npatchcore:\n  bank_sise: 9\n", ":3: patchcore.bank_sise: unknown key"),
        ("seed: 1\nseed: 2\n", ":2: 'seed' stands already on line 1"),
        ("seed: [\n", "not YAML"),
    ],
    ids=["misspelt", "misspelt within", "repeated", "no YAML"],
)
def test_a_wrong_config_is_named_by_line(text: str, complaint: str, line: Line, tmp_path: Path):
    """File, line and the nearest key; exit 2 and no run."""
    config = tmp_path / "train.yaml"
    config.write_text(text)
    said = inspection("train", config, "--data", line.manifest, "--out", tmp_path / "run")
    assert said.code == 2
    assert complaint in said.err
    assert not (tmp_path / "run").exists()


def test_an_impossible_promise_is_refused_with_the_number_it_needs(line: Line, tmp_path: Path):
    """Export with a false-reject rate that calibrate cannot promise ends with 1 and leaves none."""
    (tmp_path / "e.yaml").write_text("false_reject_rate: 0.001\ncalibration_images: 8\n")
    out = tmp_path / "bundle"
    said = inspection("export", line.run, "--out", out, "--config", tmp_path / "e.yaml")
    assert said.code == 1
    assert "needs at least 999" in said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.yaml"]


def test_overlays_never_replace_parts(line: Line, tmp_path: Path):
    """An overlay folder that holds the parts themselves is wrong use; the parts stay."""
    part = shutil.copyfile(line.images / "test/good/000.png", tmp_path / "a.png")
    before = part.read_bytes()
    said = inspection("judge", line.bundle, part, "--overlay", tmp_path)
    assert (said.code, "would replace a part" in said.err) == (2, True)
    assert part.read_bytes() == before


def test_a_report_is_not_written_into_its_bundle(line: Line):
    """The page would break the seal: exit 2, and the bundle still verifies."""
    assert inspection("report", line.bundle, "--out", line.bundle / "r.html").code == 2
    assert inspection("bundle", "verify", line.bundle).code == 0


def test_no_weights_and_no_leave_for_random_ones_is_an_error(line: Line, tmp_path: Path):
    """Without weights training names every place it looked at, and leaves no run."""
    config = tmp_path / "train.yaml"
    text = line.train_config.read_text()
    config.write_text(text.replace("allow_random_weights: true", "allow_random_weights: false"))
    words = ("train", config, "--data", line.manifest, "--out", tmp_path / "run")
    said = inspection(*words)
    assert said.code != 0
    assert "INSPECTION_WEIGHTS" in said.err
    assert "allow_random_weights" in said.err
    assert not (tmp_path / "run").exists()
    allowed = inspection(*words, "--allow-random-weights")
    assert allowed.code == 0
    assert "RANDOM WEIGHTS" in allowed.out
    assert "random weights" in allowed.err
