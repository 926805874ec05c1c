"""Arrays are written the same way each time, and read back without pickle."""

from pathlib import Path

import numpy as np
import pytest

from inspection.bundles.saving import load_arrays, save_arrays
from inspection.core.errors import InspectionError

pytestmark = pytest.mark.fast

ARRAYS = {"00": np.arange(6, dtype=np.float32).reshape(2, 3), "tile": np.array([3, 1], np.int64)}


def test_arrays_come_back_as_they_were(tmp_path: Path):
    """Names, types, shapes and values; the same arrays give the same bytes."""
    for name in ("a.npz", "b.npz"):
        save_arrays(ARRAYS, tmp_path / name)
    found = load_arrays(tmp_path / "a.npz")
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert np.array_equal(np.load(tmp_path / "a.npz")["tile"], ARRAYS["tile"])


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 torn"])
def test_what_is_no_archive_is_said(tmp_path: Path, content: bytes):
    """Empty, text and torn files are ValueError, never arrays."""
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.npz"):
        load_arrays(tmp_path / "x.npz")


def test_one_changed_byte_is_noticed(tmp_path: Path):
    """The archive's checksum covers every value."""
    save_arrays(ARRAYS, tmp_path / "x.npz")
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[content.index(ARRAYS["00"].tobytes()) + 4] ^= 1
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ValueError, match="CRC"):
        load_arrays(tmp_path / "x.npz")


def test_objects_are_not_unpickled(tmp_path: Path):
    """An array of objects is refused, written or read."""
    objects = np.array([{}], object)
    with pytest.raises(ValueError, match="allow_pickle"):
        save_arrays({"x": objects}, tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", x=objects)
    with pytest.raises(ValueError, match="allow_pickle"):
        load_arrays(tmp_path / "y.npz")


def test_folder_that_is_not_there_is_said(tmp_path: Path):
    """What cannot be written names the file."""
    with pytest.raises(InspectionError, match=r"x\.npz: cannot be written"):
        save_arrays(ARRAYS, tmp_path / "gone" / "x.npz")
