"""Judging files: one result each, FAULT where there is none, overlays that replace nothing."""

from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops
from PIL import Image

from inspection.bundles.bundle import GRAPH, Bundle, open_bundle
from inspection.bundles.judging import judge_files, overlay_paths
from inspection.bundles.seal import GATE
from inspection.core.decision import Verdict
from inspection.core.errors import ConfigError
from tests.bundles.conftest import bright, grey_graph, seal_again

pytestmark = pytest.mark.fast


@pytest.fixture
def opened(bundle: Path) -> Bundle:
    """The grey bundle, open."""
    return open_bundle(bundle)


def _save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def test_every_file_gets_its_result_in_order(opened: Bundle, tmp_path: Path):
    """Good, unreadable, missing and bad parts: one result each, the unreadable ones FAULT."""
    good = _save(tmp_path / "good.png", bright(level=40))
    text = tmp_path / "text.png"
    text.write_text("no image")
    bad = _save(tmp_path / "bad.png", bright())
    judged = list(judge_files(opened, [good, text, tmp_path / "gone.png", bad]))
    assert [str(one.verdict) for one in judged] == ["PASS", "FAULT", "FAULT", "REJECT"]
    assert [one.path for one in judged] == [good, text, tmp_path / "gone.png", bad]
    assert [one.score for one in judged] == [
        pytest.approx(40 / 255),
        None,
        None,
        pytest.approx(1),
    ]
    assert [len(one.regions) for one in judged] == [0, 0, 0, 1]
    assert judged[1].reason == f"{text}: not an image file; wanted PNG, JPEG, BMP or TIFF"
    assert "gone.png: cannot be read (No such file" in judged[2].reason
    assert (judged[0].reason, judged[0].overlay, judged[3].overlay) == ("", None, None)


def test_overlays_lie_as_the_parts_do(opened: Bundle, tmp_path: Path):
    """Each judged part gets its picture in the sub-folder of its own, a FAULT gets none."""
    scratch = _save(tmp_path / "set" / "scratch" / "000.png", bright())
    good = _save(tmp_path / "set" / "good" / "000.bmp", bright(level=3))
    empty = tmp_path / "set" / "good" / "001.png"
    empty.write_bytes(b"")
    out = tmp_path / "overlays"
    judged = list(judge_files(opened, [scratch, good, empty], out))
    wanted = [out / "scratch" / "000.png", out / "good" / "000.bmp.png", None]
    assert [one.overlay for one in judged] == wanted
    drawn = sorted(path for path in out.rglob("*") if path.is_file())
    assert drawn == sorted(wanted[:2])
    with Image.open(drawn[0]) as picture:
        assert picture.size[0] >= 480


def test_part_whose_score_is_no_number_is_a_fault(bundle: Path, tmp_path: Path):
    """A graph that divides by the part's darkness gives FAULT with the reason, not PASS."""
    grey = grey_graph(32, 48)
    level = grey.get_results()[0].input_value(0)
    inverse = openvino.Model([ops.divide(level, level)], grey.get_parameters(), "inverse")
    openvino.save_model(inverse, bundle / GRAPH, compress_to_fp16=False)
    (bundle / GATE).unlink()
    seal_again(bundle)
    part = _save(tmp_path / "black.png", np.zeros((64, 96, 3), np.uint8))
    opened = open_bundle(bundle, allow_refused=True)
    (judged,) = judge_files(opened, [part], tmp_path / "overlays")
    assert (judged.verdict, judged.score, judged.overlay) == (Verdict.FAULT, None, None)
    assert judged.reason.startswith(f"{part}: score is nan; expected a finite number")


def test_overlay_never_replaces_a_part(opened: Bundle, tmp_path: Path):
    """Drawing into the folder of the parts themselves is refused before anything is judged."""
    part = _save(tmp_path / "a.png", bright())
    before = part.read_bytes()
    with pytest.raises(
        ConfigError, match=r"a\.png: the overlay would replace a part; name another"
    ):
        list(judge_files(opened, [part], tmp_path))
    assert part.read_bytes() == before


def test_overlay_by_way_of_a_link_never_replaces_a_part(opened: Bundle, tmp_path: Path):
    """A link to the parts' folder is that folder."""
    part = _save(tmp_path / "parts" / "a.png", bright())
    (tmp_path / "link").symlink_to(tmp_path / "parts")
    with pytest.raises(ConfigError, match="the overlay would replace a part"):
        list(judge_files(opened, [part], tmp_path / "link"))


def test_two_parts_never_share_an_overlay(tmp_path: Path):
    """a.jpg and a.jpg.png would both be drawn as a.jpg.png; that is refused."""
    paths = [tmp_path / "a.jpg", tmp_path / "a.jpg.png"]
    with pytest.raises(ConfigError, match="out: two parts would share one overlay; judge them one"):
        overlay_paths(paths, tmp_path / "out")


def test_the_same_part_twice_has_one_overlay(tmp_path: Path):
    """A part named twice is no conflict with itself."""
    paths = [tmp_path / "a.jpg", tmp_path / "a.jpg"]
    assert overlay_paths(paths, tmp_path / "out") == [tmp_path / "out" / "a.jpg.png"] * 2


def test_overlays_stay_below_their_folder(tmp_path: Path, monkeypatch):
    """A part named with '..' is drawn below the overlay folder, never beside it."""
    (tmp_path / "side").mkdir()
    monkeypatch.chdir(tmp_path / "side")
    targets = overlay_paths([Path("../a.png"), Path("b.png"), Path("x/../c.png")], Path("out"))
    assert targets == [Path("out/a.png"), Path("out/side/b.png"), Path("out/side/c.png")]


def test_full_disk_for_overlays_costs_no_verdict(
    opened: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """An overlay that cannot be written is said with its path; the part is judged all the same."""
    part = _save(tmp_path / "a.png", bright())
    (tmp_path / "file").write_text("")
    judged = list(judge_files(opened, [part], tmp_path / "file"))
    assert [(one.verdict, one.overlay) for one in judged] == [(Verdict.REJECT, None)]
    assert "file/a.png: overlay lost (" in caplog.text


def test_no_file_is_no_verdict(opened: Bundle, tmp_path: Path):
    """An empty list of files is judged in no time."""
    assert list(judge_files(opened, [], tmp_path)) == []
