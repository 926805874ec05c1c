"""Detectors of other frameworks: read as declared, or refused with a picture and a reason."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspection.core.errors import BundleCorrupt, BundleError, ConfigError
from inspection.core.imaging import load_image
from inspection.detectors.detector import GRAPH, open_detector
from inspection.detectors.known import KNOWN as LAYOUTS
from inspection.detectors.layout import Layout
from inspection.recognition.importing import SAMPLE, Wish, import_detector
from tests.command import done, inspection
from tests.detectors.conventions import CONVENTIONS, INPUT_HW, KNOWN
from tests.recognition.graphs import colours, same_always

TYPES = ("crack", "pore", "stain")


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))


def save(path: Path, *spots: tuple[int, int, int, int, int], size_hw=INPUT_HW) -> Path:
    """Save a grey part with spots x0, y0, x1, y1 of a colour, 0 to 2."""
    part = np.random.default_rng(0).integers(60, 70, (*size_hw, 3)).astype(np.uint8)
    for x0, y0, x1, y1, colour in spots:
        part[y0:y1, x0:x1] = 0
        part[y0:y1, x0:x1, colour] = 250
    Image.fromarray(part).save(path)
    return path


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """A part as large as the input."""
    return save(tmp_path / "part.png", (16, 24, 24, 32, 1))


@pytest.mark.parametrize("name", CONVENTIONS)
def test_each_convention_is_read_to_the_pixel(name: str, part: Path, tmp_path: Path):
    """From the ONNX file to the sealed folder, against the boxes that were put in."""
    shape = (3, *INPUT_HW) if "detectron2" in name else (1, 3, *INPUT_HW)
    model = same_always(tmp_path / "model.onnx", CONVENTIONS[name](KNOWN), shape)
    wish = Wish(model, LAYOUTS[name], TYPES, "known", int8=False)
    import_detector(wish, [part], tmp_path / "out")
    found = open_detector(tmp_path / "out").find(load_image(part))
    np.testing.assert_allclose(found.boxes, KNOWN.boxes, atol=1)
    np.testing.assert_array_equal(found.types, KNOWN.types)
    assert load_image(tmp_path / "out" / SAMPLE).shape[2] == 3


WRONG = {  # what was exported, read as something else, and what is said
    "no objectness in v8": ("yolov8", "yolov5", "wanted 3 scores"),
    "centres as corners": ("yolov8", {"form": "xyxy"}, "end before they begin"),
    "shares as px": ("rt-detr", {"unit": "px"}, "within a px of the input's corner"),
    "px as shares": ("yolov8", {"unit": "share"}, "far beyond the input"),
    "logits as scores": ("rt-detr", {"activation": "none"}, "scores go from"),
    "background forgotten": ("detr", "rt-detr", "wanted 3 scores"),
}


def misread(exported: str, change: object):
    """Give the layout that somebody declares by mistake."""
    if isinstance(change, str):
        return LAYOUTS[change]
    declared = LAYOUTS[exported].model_dump()
    for key, value in change.items():
        declared["scores" if key == "activation" else "boxes"][key] = value
    return type(LAYOUTS[exported]).model_validate(declared)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_layout_is_refused_with_a_reason(name: str, part: Path, tmp_path: Path):
    """And with a picture, where anything can be drawn; nothing is kept."""
    exported, change, said = WRONG[name]
    model = same_always(tmp_path / "model.onnx", CONVENTIONS[exported](KNOWN))
    wish = Wish(model, misread(exported, change), TYPES, "known", int8=False)
    with pytest.raises(BundleError, match=said) as refused:
        import_detector(wish, [part], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert f"{tmp_path / 'out-refused.png'} shows what" in str(refused.value)
    assert load_image(tmp_path / "out-refused.png").shape[2] == 3


def test_a_part_of_another_size_is_found_on_its_own_px(tmp_path: Path):
    """Letterboxed, quantised, sealed, opened again: where the spot is on the part."""
    parts = [
        save(tmp_path / f"{i}.png", (40 + 8 * i, 32, 88 + 8 * i, 80, i % 3), size_hw=(256, 192))
        for i in range(6)
    ]
    model = colours(tmp_path / "model.onnx")
    card = import_detector(Wish(model, LAYOUTS["yolov8"], TYPES, "spots"), parts, tmp_path / "out")
    assert (card.precision, card.parity.agreement) == ("int8", pytest.approx(1, abs=0.05))
    found = open_detector(tmp_path / "out").find(load_image(parts[4]))
    assert set(found.types.tolist()) == {1}
    assert found.boxes[:, :2].min(axis=0) == pytest.approx((72, 32), abs=16.1)
    assert found.boxes[:, 2:].max(axis=0) == pytest.approx((120, 80), abs=16.1)


def test_an_open_size_has_to_be_named(part: Path, tmp_path: Path):
    """By height and width; a fixed one is not changed."""
    open_ = colours(tmp_path / "open.onnx", (1, 3, "height", "width"))
    wish = Wish(open_, LAYOUTS["yolov8"], TYPES, "spots", int8=False)
    with pytest.raises(ConfigError, match=r"size of its input is open; name it by --size"):
        import_detector(wish, [part], tmp_path / "out")
    sized = Wish(open_, LAYOUTS["yolov8"], TYPES, "spots", size_hw=INPUT_HW, int8=False)
    assert import_detector(sized, [part], tmp_path / "out").input_hw == INPUT_HW
    fixed = colours(tmp_path / "fixed.onnx")
    other = Wish(fixed, LAYOUTS["yolov8"], TYPES, "spots", size_hw=(64, 64), int8=False)
    with pytest.raises(ConfigError, match=r"takes 128×160 px, height by width; --size says 64×64"):
        import_detector(other, [part], tmp_path / "other")


@pytest.mark.parametrize("shape", [(128, 160), (2, 1, 3, 128, 160)])
def test_an_input_that_is_no_picture_is_refused(shape, part: Path, tmp_path: Path):
    """With or without a batch's axis, and nothing else."""
    model = same_always(tmp_path / "model.onnx", CONVENTIONS["yolov8"](KNOWN), shape)
    wish = Wish(model, LAYOUTS["yolov8"], TYPES, "x", int8=False)
    with pytest.raises(BundleError, match="wanted one picture, with or without a batch's axis"):
        import_detector(wish, [part], tmp_path / "out")


def types_found(folder: Path, parts: list[Path], *, int8: bool, **picture: object) -> set[int]:
    """Import what finds red, green and blue, 0 to 2, and give the types on the last part."""
    layout = LAYOUTS["yolov8"]
    changed = layout.picture.model_copy(update=picture)
    wish = Wish(
        colours(folder / "model.onnx"),
        layout.model_copy(update={"picture": changed}),
        TYPES,
        "spots",
        int8=int8,
    )
    import_detector(wish, parts, folder / "out")
    return set(open_detector(folder / "out").find(load_image(parts[-1])).types.tolist())


@pytest.mark.parametrize(("order", "red"), [("rgb", 0), ("bgr", 2)])
@pytest.mark.parametrize("int8", [True, False])
def test_colours_are_in_the_order_of_the_layout(order: str, red: int, int8: bool, tmp_path: Path):
    """Also where the first part is grey, of which both orders are the same."""
    grey, spot = tmp_path / "grey.png", save(tmp_path / "red.png", (16, 24, 64, 72, 0))
    Image.fromarray(np.full((*INPUT_HW, 3), 65, np.uint8)).save(grey)
    assert types_found(tmp_path, [grey, spot], int8=int8, colours=order) == {red}


def test_mean_and_std_are_in_the_graph(tmp_path: Path):
    """A green spot is none where green is darkened."""
    spots = save(tmp_path / "part.png", (16, 24, 64, 72, 1), (96, 80, 120, 104, 0))
    assert types_found(tmp_path, [spots], int8=False, mean=(0.0, 200.0, 0.0)) == {0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"objectness": {"output": "0", "first": 4, "end": 6}}, r"'0' is \(46, 2\)"),
        ({"masks": {"output": "0", "kind": "roi"}}, "wanted a mask for each box"),
    ],
)
def test_what_else_is_unlike_is_refused_with_a_picture(change, said, part: Path, tmp_path: Path):
    """Of objectness and masks as of boxes."""
    layout = LAYOUTS["yolov5"].model_dump() | change
    model = same_always(tmp_path / "model.onnx", CONVENTIONS["yolov5"](KNOWN))
    wish = Wish(model, Layout.model_validate(layout), TYPES, "known", int8=False)
    with pytest.raises(BundleError, match=said):
        import_detector(wish, [part], tmp_path / "out")
    assert (tmp_path / "out-refused.png").is_file()


def test_nothing_found_is_no_proof(tmp_path: Path):
    """Pictures without any of its types show nothing of its layout."""
    good = save(tmp_path / "good.png")
    model = colours(tmp_path / "model.onnx")
    with pytest.raises(BundleError, match="nothing is found on any of 1 pictures"):
        import_detector(Wish(model, LAYOUTS["yolov8"], TYPES, "x"), [good], tmp_path / "out")


def test_what_is_no_model_is_refused(part: Path, tmp_path: Path):
    """In words of what to do."""
    (tmp_path / "model.onnx").write_text("no model")
    wish = Wish(tmp_path / "model.onnx", LAYOUTS["yolov8"], TYPES, "x")
    with pytest.raises(BundleError, match="OpenVINO cannot read it"):
        import_detector(wish, [part], tmp_path / "out")
    with pytest.raises(ConfigError, match="each type once"):
        import_detector(Wish(part, LAYOUTS["yolov8"], ("a", "a"), "x"), [part], tmp_path / "out")


def test_a_changed_byte_is_found(part: Path, tmp_path: Path):
    """Before the graph is read."""
    wish = Wish(colours(tmp_path / "m.onnx"), LAYOUTS["yolov8"], TYPES, "x", int8=False)
    import_detector(wish, [part], tmp_path / "out")
    (tmp_path / "out" / GRAPH).write_text("other")
    with pytest.raises(BundleCorrupt, match=f"'{GRAPH}' was changed"):
        open_detector(tmp_path / "out")


def test_commands(part: Path, tmp_path: Path):
    """Imported, asked, drawn; a layout may stand in a file."""
    model, out = colours(tmp_path / "model.onnx"), tmp_path / "out"
    words = ("recognise", "import", model, part, "--types", "crack,pore,stain", "--out", out)
    unknown = inspection(*words, "--layout", "yolov99")
    assert (unknown.code, "wanted a YAML file or one of detectron2" in unknown.err) == (2, True)
    layout = tmp_path / "layout.yaml"
    layout.write_text(
        "picture: {fit: stretch, std: [255.0, 255.0, 255.0]}\n"
        "boxes: {output: output0, form: cxcywh, end: 4, along: columns}\n"
        "scores: {output: output0, first: 4, along: columns}\n"
        "suppressed: false\n"
    )
    said = done(*words, "--layout", layout, "--precision", "fp32")
    assert "fp32, 128×160 px; crack, pore, stain" in said.out
    good = save(tmp_path / "good.png")
    found = done("recognise", "find", out, part, good, "--out", tmp_path / "drawn", "--json")
    first, second = json.loads(found.out)
    (one,) = first["found"]
    assert (one["type"], one["xyxy_px"], one["mask_px"]) == ("pore", [16, 24, 24, 32], None)
    assert (second["path"], second["found"], second["problem"]) == (str(good), [], "")
    assert load_image(tmp_path / "drawn" / "part.png").shape[2] == 3
    layout.write_text("no picture")
    said = inspection("recognise", "find", out, layout, part)
    assert (said.code, "1 found on 1 pictures, 1 not read" in said.out) == (3, True)
    nowhere = inspection("recognise", "find", tmp_path, part)
    assert "wanted a folder that inspection recognise made" in nowhere.err
