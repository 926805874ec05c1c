"""An open bundle: the same verdict every time, on any part, without the trainer."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openvino
import pytest

from inspection.bundles.bundle import (
    CARD,
    GOLDEN,
    GRAPH,
    MAPS,
    REST_S,
    Golden,
    open_bundle,
    read_card,
)
from inspection.bundles.graph import Compiling, Graph
from inspection.bundles.saving import load_arrays, save_arrays
from inspection.bundles.seal import GATE, verify_bundle
from inspection.core.decision import Band, Verdict
from inspection.core.errors import (
    BundleCorrupt,
    BundleError,
    BundleUnavailable,
    ImageError,
)
from inspection.core.geometry import Geometry
from inspection.core.imaging import load_image
from inspection.core.records import write_record, write_text
from tests.bundles.conftest import GEOMETRY, bright, grey_graph, make_card, pass_gate, seal_again

pytestmark = pytest.mark.fast


def _reseal(folder: Path) -> None:
    (folder / GATE).unlink(missing_ok=True)
    seal_again(folder)
    pass_gate(folder)


def test_bundle_opens_with_all_defaults(bundle: Path):
    """The path alone opens a sound bundle; it knows its id, card and gate."""
    opened = open_bundle(str(bundle))
    assert opened.bundle_id == verify_bundle(bundle)
    assert opened.card == make_card()
    assert opened.gate.passed is True
    assert opened.path == bundle


def test_non_square_part_is_judged_and_its_defect_boxed(bundle: Path):
    """A bright square in the lower right of a 64×96 part is REJECT, boxed where it is."""
    judgement = open_bundle(bundle).judge(bright())
    assert (judgement.verdict, judgement.score) == (Verdict.REJECT, pytest.approx(1, abs=1e-6))
    (region,) = judgement.regions
    left, top, right, bottom = region.xyxy_px
    assert (top, right, bottom) == (32, 96, 64)
    assert 60 <= left <= 64


def test_score_is_the_grey_level(bundle: Path):
    """PASS, REVIEW and REJECT follow the level of the part; up to a threshold is still good."""
    opened = open_bundle(bundle)
    levels = {0: "PASS", 127: "PASS", 128: "REVIEW", 203: "REVIEW", 206: "REJECT", 255: "REJECT"}
    for level, verdict in levels.items():
        judgement = opened.judge(np.full((70, 40, 3), level, np.uint8))
        assert judgement.score == pytest.approx(level / 255, abs=1e-6)
        assert str(judgement.verdict) == verdict


def test_black_frame_has_the_score_of_black(bundle: Path):
    """An all-black frame is judged on the same scale as any other: score 0, a finite map."""
    judgement = open_bundle(bundle).judge(np.zeros((64, 96, 3), np.uint8))
    assert (judgement.score, judgement.regions) == (0, ())
    assert judgement.score_map.dtype == np.float32
    assert not judgement.score_map.any()


@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        (np.zeros((64, 96, 3), np.float32), r"float32 \(64, 96, 3\)"),
        (np.zeros((64, 96), np.uint8), r"uint8 \(64, 96\)"),
        (np.zeros((64, 96, 4), np.uint8), r"uint8 \(64, 96, 4\)"),
    ],
    ids=["float", "grey", "BGRA"],
)
def test_array_that_is_no_part_is_refused(bundle: Path, pixels, found):
    """A float, grey or BGRA array is refused with what was found, never converted."""
    opened = open_bundle(bundle)
    with pytest.raises(ImageError, match=f"part: image is {found}; wanted uint8 H×W×3 RGB"):
        opened.judge(pixels)
    with pytest.raises(ImageError, match=f"part: image is {found}; wanted uint8 H×W×3 RGB"):
        opened.score_map(pixels)


def test_judging_twice_gives_the_same_and_leaves_the_part(bundle: Path):
    """A part judged before, between and after another has one map; its pixels stay."""
    opened = open_bundle(bundle)
    part = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    kept = part.copy()
    part.setflags(write=False)
    first = opened.judge(part)
    first_map = first.score_map.copy()
    other = opened.judge(bright())
    again = opened.judge(part)
    assert np.array_equal(part, kept)
    assert np.array_equal(first.score_map, first_map)
    assert np.array_equal(again.score_map, first_map)
    assert not np.array_equal(other.score_map, first_map)
    assert (again.verdict, again.score, again.regions) == (
        first.verdict,
        first.score,
        first.regions,
    )


WAYS = {
    "one thread": Compiling(threads=1),
    "two threads": Compiling(threads=2),
    "throughput": Compiling("throughput", threads=2),
    "throughput, threads left open": Compiling("throughput"),
    "gently": Compiling(threads=2, gently=True),
}


@pytest.mark.parametrize("compiling", WAYS.values(), ids=WAYS)
def test_every_way_to_compile_gives_identical_maps(bundle: Path, compiling: Compiling):
    """The same bundle gives the same bytes however OpenVINO is told to use the processor."""
    part = np.random.default_rng(0).integers(0, 256, (61, 147, 3)).astype(np.uint8)
    one, two = open_bundle(bundle), open_bundle(bundle, compiling=compiling)
    assert np.array_equal(one.score_map(part), two.score_map(part))


def test_latency_takes_one_frame_at_a_time_and_throughput_one_per_thread(bundle: Path):
    """One graph on all threads, or one for each thread, on that thread alone; in float32."""
    for mode, copies, threads in (("latency", 1, 2), ("throughput", 2, 1)):
        graph = Graph(bundle / GRAPH, Compiling(mode, threads=2))
        assert graph.compiling.copies == copies
        assert graph.compiled.get_property("NUM_STREAMS") == 1
        assert graph.compiled.get_property("INFERENCE_NUM_THREADS") == threads
        assert graph.compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32


def test_throughput_uses_every_processor_unless_told():
    """Without a number there are as many graphs as processors this process may use."""
    assert Compiling("throughput").copies == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_threads_judge_different_parts_at_once(bundle: Path, mode):
    """Four threads with a part each get the map of their own part, every time."""
    opened = open_bundle(bundle, compiling=Compiling(mode, threads=2))

    def scores(level: int) -> set[float]:
        part = np.full((64, 96, 3), level, np.uint8)
        return {round(opened.judge(part).score * 255) for _ in range(50)}

    levels = [10, 90, 170, 250]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(scores, levels)) == [{level} for level in levels]


def test_failed_inference_gives_its_request_back(bundle: Path):
    """A tile the graph refuses is an error each time, and never leaves the next part waiting."""
    graph = Graph(bundle / GRAPH)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="shape"):
            graph(np.zeros((8, 8, 3), np.uint8))
    assert graph(np.full((32, 48, 3), 255, np.uint8)).max() == pytest.approx(1)


def test_part_can_be_looked_at_between_preparing_and_judging(bundle: Path):
    """`judge` is `prepare` and `judge_tiles`; a band of the station's goes before the card's."""
    opened, part = open_bundle(bundle), bright()
    tiles = opened.prepare(part)
    assert (tiles.shape, tiles.dtype) == ((2, 32, 48, 3), np.uint8)
    whole, stepwise = opened.judge(part), opened.judge_tiles(tiles, (64, 96))
    assert (stepwise.verdict, stepwise.score, stepwise.regions, stepwise.band) == (
        whole.verdict,
        whole.score,
        whole.regions,
        opened.card.band,
    )
    lenient = Band(review_above=2, reject_above=3)
    judged = opened.judge_tiles(tiles, (64, 96), lenient)
    assert (judged.verdict, judged.band, judged.score) == (Verdict.PASS, lenient, whole.score)


def test_golden_frames_are_reproduced(bundle: Path):
    """On a sound machine every golden frame gives its map, here exactly."""
    assert open_bundle(bundle).selftest() == (Golden("00", 0), Golden("01", 0))
    assert all(golden.reproduced for golden in open_bundle(bundle).selftest())


@pytest.mark.parametrize(
    ("change", "reproduced"),
    [(0.01, True), (0.03, False), (np.nan, False), (np.inf, False)],
    ids=["rounding", "another CPU result", "NaN", "infinite"],
)
def test_selftest_notices_a_cpu_that_computes_something_else(bundle: Path, change, reproduced):
    """A map off by more than 2 % of its largest value in a single cell is not reproduced."""
    maps = load_arrays(bundle / GOLDEN / MAPS)
    maps["01"][2, 3] += np.float32(change) * maps["01"].max()
    save_arrays(maps, bundle / GOLDEN / MAPS)
    _reseal(bundle)
    results = open_bundle(bundle).selftest()
    assert [golden.reproduced for golden in results] == [True, reproduced]


SPOILT_GOLDEN = {
    "no map of a frame": lambda maps, _: maps.pop("01"),
    "map of another size": lambda maps, _: maps.update({"01": maps["01"][:1]}),
    "frame gone": lambda _, folder: (folder / "01.png").unlink(),
    "frame no picture": lambda _, folder: (folder / "01.png").write_text("x"),
}


@pytest.mark.parametrize("spoil", SPOILT_GOLDEN.values(), ids=SPOILT_GOLDEN)
def test_selftest_that_cannot_be_done_is_said(bundle: Path, spoil):
    """A golden frame or map that is missing or of another size is an error, not a success."""
    maps = load_arrays(bundle / GOLDEN / MAPS)
    spoil(maps, bundle / GOLDEN)
    save_arrays({name: np.ascontiguousarray(one) for name, one in maps.items()}, _maps(bundle))
    _reseal(bundle)
    with pytest.raises(BundleCorrupt, match=r"golden: no selftest \(.*\); copy the bundle again"):
        open_bundle(bundle).selftest()


def test_selftest_rests_between_golden_frames_while_parts_are_under_way(bundle: Path, monkeypatch):
    """A bundle opened gently lets the line catch up before each golden frame; another does not."""
    rests: list[float] = []
    monkeypatch.setattr("inspection.bundles.bundle.time.sleep", rests.append)
    assert open_bundle(bundle).golden
    assert not rests
    gentle = open_bundle(bundle, compiling=Compiling(gently=True))
    assert gentle.golden == gentle.golden
    assert rests == [REST_S, REST_S]


def _maps(folder: Path) -> Path:
    return folder / GOLDEN / MAPS


def test_maps_gone_after_opening_are_said(bundle: Path):
    """A bundle pulled away after it was opened fails its selftest by name."""
    opened = open_bundle(bundle)
    _maps(bundle).unlink()
    with pytest.raises(BundleCorrupt, match=r"golden: no selftest \(.*copy the bundle again"):
        opened.selftest()
    _maps(bundle).write_bytes(b"no tensors")
    with pytest.raises(BundleCorrupt, match=r"golden: no selftest \(.*copy the bundle again"):
        opened.selftest()


def caused(error: Exception, cause: Exception) -> Exception:
    """Give an error that stands for another."""
    error.__cause__ = cause
    return error


DISK, UNREAD = OSError(5, "Input/output error"), "a: cannot be read"
REFUSED = {
    "seal": (
        "open",
        "open_sealed",
        caused(BundleCorrupt(UNREAD), DISK),
        "cannot be read",
    ),
    "card": ("open", "Sealed.read", BundleUnavailable(UNREAD), UNREAD),
    "first frame": ("open", "Graph.warm_up", RuntimeError("no memory"), r"run it \(no memory"),
    "golden maps": ("selftest", "parse_arrays", DISK, "no selftest"),
    "golden frame": (
        "selftest",
        "decode_image",
        caused(ImageError(UNREAD), DISK),
        "no selftest",
    ),
    "golden map": ("selftest", "map_tiles", RuntimeError("no memory"), "makes no map"),
}


@pytest.mark.parametrize(("when", "name", "error", "found"), REFUSED.values(), ids=REFUSED)
def test_what_the_machine_refuses_now_is_not_held_against_the_bundle(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, when: str, name: str, error, found: str
):
    """A disk or a memory that fails at this moment leaves open what the bundle is."""

    def fail(*_: object) -> None:
        raise error

    opened = open_bundle(bundle)
    monkeypatch.setattr(f"inspection.bundles.bundle.{name}", fail)
    with pytest.raises(BundleUnavailable, match=found):
        opened.selftest() if when == "selftest" else open_bundle(bundle)


def test_card_of_a_newer_program_is_refused(bundle: Path):
    """A card of a newer schema is refused with both versions before the graph is loaded."""
    write_record(bundle / CARD, make_card().model_copy(update={"schema_version": 2}))
    _reseal(bundle)
    with pytest.raises(
        BundleError, match=r"card\.json: Card of schema 2; this program reads up to"
    ):
        open_bundle(bundle)
    with pytest.raises(BundleError, match="update it"):
        read_card(bundle)


@pytest.mark.parametrize("text", ["", "[]", '{"name": "x"}'], ids=["empty", "list", "half"])
def test_broken_card_is_a_bundle_error(bundle: Path, text):
    """A signed card that is no card is refused by its file."""
    write_text(bundle / CARD, text)
    _reseal(bundle)
    with pytest.raises(BundleError, match=r"card\.json: not "):
        open_bundle(bundle)


def test_graph_that_is_none_is_a_bundle_error(bundle: Path):
    """A signed graph that OpenVINO cannot read is refused by its file."""
    (bundle / GRAPH).write_text("<net/>")
    _reseal(bundle)
    with pytest.raises(BundleUnavailable, match=r"model\.xml: OpenVINO cannot load it"):
        open_bundle(bundle)


def test_graph_with_height_and_width_swapped_is_refused_at_opening(bundle: Path):
    """A graph that does not take what the card prepares is refused before the first part."""
    openvino.save_model(grey_graph(48, 32), bundle / GRAPH, compress_to_fp16=False)
    _reseal(bundle)
    message = (
        r"model\.xml: takes u8 \[1,48,32,3\] and gives \[1,1,6,4\]; the card wants u8 \[1,32,4"
    )
    with pytest.raises(BundleError, match=message):
        open_bundle(bundle)


def test_card_with_another_geometry_is_refused_at_opening(bundle: Path):
    """The same holds when the card is the one that changed."""
    write_record(bundle / CARD, make_card(geometry=Geometry()))
    _reseal(bundle)
    with pytest.raises(BundleError, match=r"the card wants u8 \[1,256,256,3\] and \[1,1,h,w\]"):
        open_bundle(bundle)


def test_golden_frame_is_judged_as_any_part(bundle: Path):
    """A golden frame read from the bundle gives the map that lies beside it."""
    opened = open_bundle(bundle)
    found = opened.score_map(load_image(bundle / GOLDEN / "00.png"))
    assert np.array_equal(found, load_arrays(_maps(bundle))["00"])
    assert found.shape[0] == GEOMETRY.height_px // 8


TORCHLESS = """
import sys
from inspection.bundles.bundle import open_bundle
from inspection.core.imaging import load_image
opened = open_bundle(sys.argv[1])
opened.selftest()
print(opened.judge(load_image(opened.path / "golden" / "00.png")).verdict)
heavy = {"torch", "anomalib", "lightning", "nncf", "sklearn", "scipy", "pandas", "matplotlib"}
print(sorted(heavy & set(sys.modules)))
"""


def test_a_fresh_interpreter_judges_without_torch(bundle: Path):
    """Opening, selftest and judging load neither torch nor anything else of the trainer."""
    done = subprocess.run(
        [sys.executable, "-c", TORCHLESS, str(bundle)],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "PASS\n[]\n"
