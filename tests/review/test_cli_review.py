"""The commands of the desk: what they print, what they write, how they end."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from inspection.bundles.bundle import open_bundle
from inspection.cli.main import explain
from inspection.core.imaging import load_mask
from tests.command import done, inspection
from tests.review.desk import correct, event, mask, part, save

ONE = (48, 24, 96, 72)  # four cells of the map


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A part with one defect."""
    return save(tmp_path / "parts" / "bad.png", part(ONE))


@pytest.mark.fast
def test_refine_by_colours(redness: Path, bad: Path, tmp_path: Path):
    """GrabCut outlines where it is asked to; files and a line for each part are there."""
    good = save(bad.with_name("good.png"), part())
    out = tmp_path / "out"
    words = "review", "refine", bad, good, "--bundle", redness, "--out", out
    said = done(*words, "--segmenter", "grabcut")
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == [
        *("annotations.json", "defects.csv", "masks/bad.png", "masks/good.png"),
    ]
    head, _, first, second, last = said.out.splitlines()
    assert head.startswith("redness ")
    assert head.endswith("outlines by GrabCut (OpenCV, no weights)")
    assert first.split()[:4] == ["REJECT", "1", str(bad), "1"]
    assert second.split() == ["PASS", "0.07843", str(good), "0", "-", "-", "PASS"]
    assert last.startswith("2 pictures, 0 not refined; of events: 0 frames not kept, 0 without")
    found, truth = load_mask(out / "masks" / "bad.png"), mask(ONE)
    assert (found & truth).sum() / (found | truth).sum() > 0.8


@pytest.mark.fast
def test_refine_speaks_json(redness: Path, bad: Path, tmp_path: Path):
    """--json gives defects with their sizes, and nothing else on stdout."""
    words = ("--bundle", redness, "--out", tmp_path / "out", "--mm-per-px", 0.5, "--json")
    found = json.loads(done("review", "refine", bad, *words).out)
    (picture,) = found["refined"]["pictures"]
    assert picture["defects"]["mm_per_px"] == 0.5
    assert picture["defects"]["found"][0]["size"]["area_px"] > 1500
    assert (picture["verdict"], picture["would_be"]) == ("REJECT", "REJECT")
    assert found["sources"]["not_kept"] == 0


@pytest.mark.fast
def test_refine_of_a_stations_events(redness: Path, tmp_path: Path):
    """Events as a station prints them, frames as it keeps them, cut as its recipe does."""
    bundle_id = open_bundle(redness).bundle_id
    large = part(size_hw=(192, 192))
    large[96:] = part(ONE)
    events = [event(1, bundle_id), event(2, bundle_id)]
    save(tmp_path / "pictures" / "REJECT" / "0000000001-top.png", large)
    record = tmp_path / "events.jsonl"
    record.write_text("".join(one.model_dump_json() + "\n" for one in events))
    words = ("review", "refine", record, "--bundle", redness)
    uncut = inspection(*words, "--out", tmp_path / "uncut")
    assert (uncut.code, "its event says 1; give --roi as" in uncut.out) == (3, True)
    said = done(*words, "--out", tmp_path / "out", "--roi", 0.5, 0, 1, 1)
    assert "of events: 1 frames not kept, 0 without a score of this bundle" in said.out
    with (tmp_path / "out" / "defects.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert row["event_id"] == events[0].event_id
    assert float(row["y_px"]) == pytest.approx(96 + 48, abs=2)


@pytest.mark.fast
def test_refine_shows_what_rules_would_say(redness: Path, bad: Path, tmp_path: Path):
    """The rules stand in a file as in a recipe; the verdict stays."""
    rules = tmp_path / "rules.yaml"
    rules.write_text("accept:\n- name: spots\n  area_below: 9000.0\n  unit: px\n")
    words = ("--bundle", redness, "--out", tmp_path / "out", "--accept", rules)
    said = done("review", "refine", bad, *words)
    _, _, row, _ = said.out.splitlines()
    assert row.startswith("REJECT ")
    assert "'spots'" in row
    rules.write_text("accept:\n- name: spots\n  area_blow: 9000.0\n")
    wrong = inspection("review", "refine", bad, *words)
    assert (wrong.code, "did you mean 'area_below'?" in wrong.err) == (2, True)


@pytest.mark.fast
def test_refine_ends_with_three_when_a_picture_fails(redness: Path, bad: Path, tmp_path: Path):
    """The text is named, the part is done."""
    text = tmp_path / "text.png"
    text.write_text("no picture")
    words = ("--bundle", redness, "--out", tmp_path / "out")
    said = inspection("review", "refine", text, bad, *words)
    assert said.code == 3
    assert f"not refined  {text}: not an image file" in said.out
    assert (tmp_path / "out" / "masks").is_dir()


@pytest.mark.fast
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--mm-per-px", -1), "command line:1: mm_per_px: Input should be greater than 0"),
        (("--roi", 0.5, 0, 0.2, 1), "top must lie above bottom"),
        (("--segmenter", "none"), "none: no "),
        (("--accept", "none.yaml"), "none.yaml: cannot be read"),
        (("--pictures", "none"), ""),
    ],
    ids=["scale", "roi", "segmenter", "rules", "pictures without events"],
)
def test_refine_refuses_what_is_wrong(redness: Path, bad: Path, tmp_path: Path, words, said: str):
    """One line on stderr, nothing written; --pictures without events is of no account."""
    out = tmp_path / "out"
    ended = inspection("review", "refine", bad, "--bundle", redness, "--out", out, *words)
    assert said in ended.err
    assert (ended.code == 0, out.exists()) == (not said, not said)


@pytest.mark.fast
def test_refine_opens_no_refused_bundle(bad: Path, tmp_path: Path):
    """What is no bundle ends with 1, as everywhere."""
    said = inspection("review", "refine", bad, "--bundle", tmp_path, "--out", tmp_path / "out")
    assert said.code == 1


def test_a_mask_goes_from_a_person_into_a_data_set(bad: Path, tmp_path: Path):
    """correct, then export: COCO for other tools, a folder that dataset check reads."""
    store, coco, made = tmp_path / "corrections", tmp_path / "defects.json", tmp_path / "set"
    drawn = save(tmp_path / "drawn.png", mask(ONE))
    empty = save(tmp_path / "empty.png", mask())
    good = save(tmp_path / "good.png", part())
    by = ("--author", "weber", "--store", store)
    added = done("review", "correct", bad, "--mask", drawn, *by, "--defect", "spot", "--why", "x")
    assert Path(added.out.strip()).parent == store / "records"
    record = json.loads(done("review", "correct", good, "--mask", empty, *by, "--json").out)
    assert (record["record"]["author"], record["record"]["defect"]) == ("weber", None)
    said = done("review", "export", store, "--coco", coco, "--dataset", made)
    assert said.out == (f"COCO     {coco}\ndata set {made}: 1 good; defects: spot 1; 0 undecided\n")
    (one,) = json.loads(coco.read_text())["annotations"]
    assert (one["area"], one["bbox"]) == (48 * 48, [48, 24, 48, 48])
    checked = json.loads(inspection("dataset", "check", made, "--json").out)
    assert [entry["defect"] for entry in checked["manifest"]["entries"]] == ["spot", None]
    (truth,) = (made / "ground_truth" / "spot").iterdir()
    np.testing.assert_array_equal(load_mask(truth), mask(ONE))


@pytest.mark.fast
def test_a_wrong_correction_is_wrong_use(bad: Path, tmp_path: Path):
    """No author, a kind that is no folder's name, a mask of another picture: exit 2, no store."""
    drawn = save(tmp_path / "drawn.png", mask(ONE))
    other = save(tmp_path / "other.png", mask(ONE, size_hw=(192, 96)))
    for words, said in (
        (("--mask", drawn, "--author", ""), "author: String should match"),
        (("--mask", drawn, "--author", "kim", "--defect", "../up"), "defect: String should match"),
        (("--mask", other, "--author", "kim"), "the mask is bool (192, 96); wanted bool (96, 192)"),
        (("--mask", tmp_path / "none.png", "--author", "kim"), "none.png: cannot be read"),
    ):
        ended = inspection("review", "correct", bad, "--store", tmp_path / "store", *words)
        assert (ended.code, said in ended.err) == (2, True), ended.err
    assert not (tmp_path / "store").exists()


@pytest.mark.fast
def test_the_picture_itself_is_no_mask(bad: Path, tmp_path: Path):
    """Taken for one, it would be a defect all over; exit 2, no store."""
    words = ("--author", "kim", "--store", tmp_path / "store")
    ended = inspection("review", "correct", bad, "--mask", bad, *words)
    assert (ended.code, "wanted a mask of 0 and at most one other value" in ended.err) == (2, True)
    assert not (tmp_path / "store").exists()


@pytest.mark.fast
def test_export_wants_something_to_write(tmp_path: Path):
    """Neither --coco nor --dataset, or no corrections: exit 2."""
    nothing = inspection("review", "export", tmp_path)
    assert (nothing.code, "name --coco, --dataset or both" in nothing.err) == (2, True)
    empty = inspection("review", "export", tmp_path / "none", "--coco", tmp_path / "x.json")
    assert (empty.code, "holds no corrections" in empty.err) == (2, True)


@pytest.mark.fast
@pytest.mark.parametrize("name", ["torch", "transformers", "nncf"])
def test_a_missing_extra_of_the_desk_is_the_refine_extra(name: str):
    """Converting and tuning need another extra than training does."""
    error = ModuleNotFoundError(f"No module named '{name}'", name=name)
    line = f"error: {name} is not installed; this command needs the {{}} extra: pip install "
    assert explain(error, "review") == (2, line.format("refining") + '"inspection[refine]"')
    assert explain(error) == (2, line.format("training") + '"inspection[train]"')


@pytest.mark.parametrize(
    "words",
    [
        ["convert", "models/sam", "--precision", "fp32", "--out", "x"],
        ["tune-segmenter", "models/sam", "--corrections", "corrections", "--out", "x"],
    ],
    ids=lambda words: words[0],
)
def test_convert_and_tune_without_torch_say_which_extra_they_need(words: list[str]):
    """In a fresh interpreter that has no torch: exit 2 and one line."""
    script = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'nncf'): sys.modules[name] = None\n"
        "from inspection.cli.main import run\n"
        f"sys.exit(run(['review', *{words}]))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 2
    assert 'needs the refining extra: pip install "inspection[refine]"' in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.fast
def test_refine_by_the_segmenter_that_ships(redness: Path, bad: Path, tmp_path: Path):
    """It is the default; no weights have to be brought."""
    out = tmp_path / "out"
    head, *_ = done("review", "refine", bad, "--bundle", redness, "--out", out).out.splitlines()
    assert "outlines by edgetam int8: segmenter (shipped, " in head
    found, truth = load_mask(out / "masks" / "bad.png"), mask(ONE)
    assert (found & truth).sum() / (found | truth).sum() > 0.7


def test_refine_and_correct_load_nothing_of_the_trainer(redness: Path, bad: Path, tmp_path: Path):
    """A desk without torch refines by the segmenter that ships and corrects."""
    words = ["review", "refine", str(bad), "--bundle", str(redness), "--out", str(tmp_path / "out")]
    script = (
        "import sys\n"
        "from inspection.cli.main import run\n"
        f"code = run({words})\n"
        "import inspection.review.exports\n"
        "assert not {'torch', 'transformers', 'nncf', 'scipy', 'pandas'} & set(sys.modules)\n"
        "sys.exit(code)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_converted_segmenter_outlines(redness: Path, bad: Path, tmp_path: Path):
    """Convert prints the folder that refine takes; a second time it is there already."""
    from inspection.bench.tiny_sam import make_tiny_sam

    make_tiny_sam("sam", tmp_path / "sam", steps=1)
    words = ("review", "convert", tmp_path / "sam", "--precision", "fp32", "--out", tmp_path / "to")
    words += (tmp_path / "gone.png",)  # float32 needs no pictures, so none is read
    folder = done(*words).out.strip()
    assert done(*words, "--json").out == json.dumps({"segmenter": folder}, indent=1) + "\n"
    into = ("--bundle", redness, "--out", tmp_path / "out", "--segmenter", folder)
    assert "outlines by sam fp32: sam (folder, " in done("review", "refine", bad, *into).out


def test_convert_to_int8_wants_pictures(tmp_path: Path):
    """Ranges of INT8 come from parts; without any it is wrong use."""
    said = inspection("review", "convert", tmp_path, "--out", tmp_path / "to")
    assert (said.code, "INT8 wants some of the parts" in said.err) == (2, True)


@pytest.mark.parametrize(("kept", "code"), [(True, 0), (False, 1)])
def test_tuning_that_did_not_help_ends_with_one(bad: Path, tmp_path: Path, monkeypatch, kept, code):
    """A script sees whether there is something to convert; the labels are the corrections."""
    seen = []

    def tune(checkpoint, labels, out):  # the real one takes a minute
        seen.append((checkpoint, [label.image for label in labels], out))
        return SimpleNamespace(kept=kept)

    monkeypatch.setattr("inspection.review.tune.tune_segmenter", tune)
    correct(tmp_path / "store", bad, mask(ONE))
    into = ("--corrections", tmp_path / "store", "--out", tmp_path / "tuned")
    said = inspection("review", "tune-segmenter", "models/sam", *into)
    assert (said.code, said.out) == (code, f"namespace(kept={kept})\n")
    assert seen == [("models/sam", ["bad.png"], tmp_path / "tuned")]
