"""Parts of a manifest: the very bytes it was made from, and the tiles of fit by number."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspection.core.errors import DatasetError, ImageError
from inspection.core.geometry import Geometry, Roi, prepare
from inspection.core.parts import FitTiles, HeldOut, load_part, load_part_mask
from inspection.core.records import Label, Manifest, ManifestEntry, Split, hash_json

pytestmark = pytest.mark.fast

GEOMETRY = Geometry(height_px=32, width_px=48, tile_columns=2)


def _part(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 72, 3)).astype(np.uint8)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Three fit parts and a defect with its mask."""
    entries = []
    for seed, name in enumerate(("a.png", "b.png", "c.png", "d.png")):
        Image.fromarray(_part(seed)).save(tmp_path / name)
        entries.append(
            ManifestEntry(
                path=name,
                sha256=hashlib.sha256((tmp_path / name).read_bytes()).hexdigest(),
                height_px=40,
                width_px=72,
                mode="RGB",
                label=Label.DEFECT if name == "d.png" else Label.GOOD,
                mask="d_mask.png" if name == "d.png" else None,
                group=name,
                split=Split.TEST if name == "d.png" else Split.FIT,
            )
        )
    mask = np.zeros((40, 72), np.uint8)
    mask[3:9, 60:70] = 255
    Image.fromarray(mask).save(tmp_path / "d_mask.png")
    return Manifest(root=str(tmp_path), layout="plain", entries=tuple(entries))


def test_part_is_read_as_its_manifest_says(manifest: Manifest):
    """The pixels of an entry are those of its file; its mask is read, none stays none."""
    assert np.array_equal(load_part(manifest, manifest.entries[1]), _part(1))
    mask = load_part_mask(manifest, manifest.entries[3])
    assert (mask.dtype, mask.shape, int(mask.sum())) == (np.bool_, (40, 72), 60)
    assert load_part_mask(manifest, manifest.entries[0]) is None


def test_part_and_mask_are_cut_as_the_entry_says(manifest: Manifest):
    """Of the file stays what the ROI holds; whole pictures hash as before there was any."""
    last = manifest.entries[-1]
    cut = last.model_copy(update={"roi": Roi(top=0.1, left=0.5)})
    assert np.array_equal(load_part(manifest, cut), load_part(manifest, last)[4:, 36:])
    assert np.array_equal(load_part_mask(manifest, cut), load_part_mask(manifest, last)[4:, 36:])
    before = [one.model_dump(mode="json", exclude={"roi", "outdated"}) for one in manifest.entries]
    assert manifest.sha256 == hash_json(before)
    entries = (*manifest.entries[:-1], cut)
    assert manifest.model_copy(update={"entries": entries}).sha256 != manifest.sha256


def test_changed_bytes_are_refused(manifest: Manifest):
    """A file that is another picture now is refused with both hashes, though it is readable."""
    path = Path(manifest.root) / "b.png"
    Image.fromarray(_part(9)).save(path)
    wanted = manifest.entries[1].sha256[:12]
    message = rf"b\.png: sha256 is [0-9a-f]{{12}}; the manifest says {wanted}; put the file back"
    with pytest.raises(DatasetError, match=message):
        load_part(manifest, manifest.entries[1])


def test_missing_part_is_named(manifest: Manifest):
    """A file that is gone is refused by its path."""
    (Path(manifest.root) / "b.png").unlink()
    with pytest.raises(ImageError, match=r"b\.png: cannot be read \(No such file"):
        load_part(manifest, manifest.entries[1])


def test_tiles_are_numbered_part_by_part(manifest: Manifest):
    """Number 3 of two tiles per part is the second tile of the second fit part; the test is out."""
    tiles = FitTiles(manifest, GEOMETRY)
    assert len(tiles) == 6
    assert np.array_equal(tiles[3], prepare(_part(1), GEOMETRY)[1])
    assert np.array_equal(np.stack(list(tiles)[:2]), prepare(_part(0), GEOMETRY))
    with pytest.raises(IndexError, match="out of range"):
        tiles[6]


def test_tiles_are_read_once_while_they_fit_into_memory(manifest: Manifest):
    """A tile read before is given again though the file is gone by then."""
    tiles = FitTiles(manifest, GEOMETRY)
    first = tiles[0]
    (Path(manifest.root) / "a.png").unlink()
    assert np.array_equal(tiles[0], first)
    assert np.array_equal(tiles[1], prepare(_part(0), GEOMETRY)[1])


def test_a_set_too_large_for_memory_is_read_each_time(manifest: Manifest, monkeypatch):
    """Above the limit nothing is kept, so that memory does not grow with the set."""
    monkeypatch.setattr("inspection.core.parts.CACHE_BYTES", 6 * 32 * 48 * 3 - 1)
    tiles = FitTiles(manifest, GEOMETRY)
    assert np.array_equal(tiles[0], prepare(_part(0), GEOMETRY)[0])
    (Path(manifest.root) / "a.png").unlink()
    with pytest.raises(ImageError, match=r"a\.png: cannot be read"):
        tiles[0]


def _moved(manifest: Manifest, splits: dict[str, Split]) -> Manifest:
    """Move parts to other splits; those not named are left out."""
    entries = (
        e.model_copy(update={"split": splits[e.path]}) for e in manifest.entries if e.path in splits
    )
    return manifest.model_copy(update={"entries": tuple(entries)})


def test_held_out_parts_are_those_of_test(manifest: Manifest):
    """Good parts first, with a clean mask; then real defects with theirs."""
    parts = HeldOut(
        _moved(manifest, {"a.png": Split.FIT, "b.png": Split.TEST, "d.png": Split.TEST})
    )
    assert [(part.path, part.label) for part in map(parts.__getitem__, range(len(parts)))] == [
        ("b.png", Label.GOOD),
        ("d.png", Label.DEFECT),
    ]
    assert (parts.goods_split, parts.generated) == (Split.TEST, False)
    assert [int(parts[number].mask.sum()) for number in range(2)] == [0, 60]
    assert [path.name for path in parts.files] == ["b.png", "d.png"]


def test_defects_are_generated_where_there_is_none(manifest: Manifest):
    """Each good part once more with a defect, the same each time it is asked for."""
    parts = HeldOut(_moved(manifest, {"a.png": Split.TEST, "b.png": Split.TEST}))
    assert (len(parts), parts.generated) == (4, True)
    part = parts[3]
    assert (part.path, part.label, part.defect) == ("b.png", Label.DEFECT, "generated cut_paste")
    changed = (part.pixels != _part(1)).any(axis=2)
    assert np.array_equal(changed, part.mask)
    assert np.array_equal(parts[3].pixels, part.pixels)


def test_calibrate_stands_in_for_good_parts(manifest: Manifest):
    """Without a good test part those of calibrate are taken, and it is said."""
    parts = HeldOut(_moved(manifest, {"a.png": Split.CALIBRATE, "d.png": Split.TEST}))
    assert parts.goods_split is Split.CALIBRATE
    assert [parts[number].path for number in range(len(parts))] == ["a.png", "d.png"]
