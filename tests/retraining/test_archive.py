import io
import json
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspection.bench.redness import encode_part, make_bundle
from inspection.core.decision import Band, Verdict
from inspection.core.errors import ConfigError, DatasetError, GateRefused, InspectionError
from inspection.core.geometry import Roi
from inspection.core.records import (
    Label,
    Manifest,
    ManifestEntry,
    Split,
    hash_file,
    write_record,
)
from inspection.retraining import rejudge as module
from inspection.retraining.archive import BY_RECIPE, NOT_ASKED, WHOLE, open_archive
from inspection.retraining.chunk import Judged, judge_chunk
from inspection.retraining.pool import Pool, local_pool, run_all
from inspection.retraining.rejudge import Rejudged, Where, rejudge
from inspection.station.service import serve
from inspection.station.settings import StationConfig
from inspection.station.spool import DATABASE
from tests.command import inspection
from tests.station.test_service import configure, fill, put

TWO = Where(threads=2)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))
    monkeypatch.setattr(module, "CHUNK", 4)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle that judges by redness."""
    return make_bundle(tmp_path / "bundle")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Eighteen pictures in two folders and a broken one."""
    folder = tmp_path / "pictures"
    for number in range(18):
        name, encoded = encode_part(number)
        path = folder / ("b" if number % 2 else "a") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded)
    (folder / "a" / "broken.png").write_bytes(b"no picture")
    (folder / "a" / "notes.txt").write_text("no picture, and not meant as one")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Give every file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rows(folder: Path) -> list[Judged]:
    """Give all rows in the order of their files."""
    texts = (path.read_text() for path in sorted(folder.glob("*.jsonl")))
    return [Judged.model_validate_json(line) for text in texts for line in text.split("\n")[:-1]]


def cutting(folder: Path, roi: Roi) -> StationConfig:
    """Configure a station that cuts its frames and keeps them all."""
    recipes = {"default": {"main": {"bundle": folder / "bundle", "roi": roi.model_dump()}}}
    return configure(folder, outputs=(), recipes=recipes, spool={"keep_images": tuple(Verdict)})


def half_red(left: int = 51) -> bytes:
    """Encode a part that is good on its left half only, where it is so red."""
    pixels = np.full((30, 70, 3), (left, 0, 0), np.uint8)
    pixels[:, 35:, 0] = 255
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def drop_roi(data_dir: Path, sequence: int) -> None:
    """Make an event of a record one from before its frames named what was cut."""
    with closing(sqlite3.connect(data_dir / DATABASE)) as database, database:
        query = "SELECT record FROM events WHERE sequence = ?"
        event = json.loads(database.execute(query, (sequence,)).fetchone()[0])
        for frame in event["frames"]:
            del frame["roi"]
        row = json.dumps(event), sequence
        database.execute("UPDATE events SET record = ? WHERE sequence = ?", row)


def test_every_picture_has_a_row_in_the_archives_order(
    bundle: Path, pictures: Path, tmp_path: Path
):
    """Folders and names are sorted; what cannot be read is FAULT, with its reason, not the end."""
    found = rejudge(bundle, pictures, tmp_path / "out", where=TWO)
    judged = rows(tmp_path / "out")
    assert [row.name for row in judged] == [
        picture.name for picture in open_archive(pictures, "redness").list()
    ]
    assert [row.name for row in judged] == sorted(row.name for row in judged)
    (faulty,) = [row for row in judged if row.verdict is Verdict.FAULT]
    assert (faulty.name, faulty.score) == ("a/broken.png", None)
    assert "not an image file" in faulty.reason
    assert found.pictures == len(judged) == 19
    assert found.verdicts[Verdict.REJECT] == sum(row.verdict is Verdict.REJECT for row in judged)


def test_a_broken_off_replay_goes_on_and_leaves_the_same_bytes(
    bundle: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Chunks that were finished are not judged again; the rest comes to what it would have been."""
    whole = rejudge(bundle, pictures, tmp_path / "whole", where=TWO)
    done: list[str] = []

    def until_third(pictures: tuple, *arguments: object) -> str:
        if len(done) == 2:  # and no later one, which may be handed in already
            raise InspectionError("power cut")
        done.append(pictures[0].name)
        return judge_chunk(pictures, *arguments)

    def on(pictures: tuple, *arguments: object) -> str:
        done.append(pictures[0].name)
        return judge_chunk(pictures, *arguments)

    monkeypatch.setattr(module, "judge_chunk", until_third)
    broken = tmp_path / "broken"
    with pytest.raises(InspectionError, match="power cut"):
        rejudge(bundle, pictures, broken, where=Where(threads=1))
    kept = set(files(broken))
    assert len(kept) == 2
    judged_before, done[:] = done[:], []
    monkeypatch.setattr(module, "judge_chunk", on)
    assert rejudge(bundle, pictures, broken, where=Where(threads=1)) == whole
    assert files(broken) == files(tmp_path / "whole")
    assert not set(done) & set(judged_before)
    assert len(done) == 3


def test_another_band_or_another_picture_is_judged_anew(
    bundle: Path, pictures: Path, tmp_path: Path
):
    """A chunk's file is named by all that decides it; what is not of this replay is removed."""
    out = tmp_path / "out"
    rejudge(bundle, pictures, out, where=TWO)
    first = set(files(out))
    (out / "mine.txt").write_text("left alone")
    strict = Band(review_above=0.1, reject_above=0.2)
    found = rejudge(bundle, pictures, out, band=strict, where=TWO)
    assert found.band == strict
    assert set(files(out)) & first == {"summary.json"}
    assert (out / "mine.txt").exists()
    assert all(row.verdict is not Verdict.PASS for row in rows(out) if (row.score or 0) > 0.1)
    second = set(files(out))
    (pictures / "b" / "z.png").write_bytes((pictures / "a" / "0000000.png").read_bytes())
    rejudge(bundle, pictures, out, band=strict, where=TWO)
    assert len(second - set(files(out))) == 1, "only the chunk at the end is another one"


def test_a_manifest_tells_what_people_said(bundle: Path, pictures: Path, tmp_path: Path):
    """Verdicts are counted by label, in the manifest's order."""
    entries = tuple(
        ManifestEntry(
            path=path.relative_to(pictures).as_posix(),
            sha256=hash_file(path),
            height_px=32,
            width_px=64,
            mode="RGB",
            label=label,
            group=path.name,
            split=Split.TEST,
        )
        for path, label in (
            (pictures / "a" / "0000000.png", Label.GOOD),
            (pictures / "a" / "0000006.png", Label.DEFECT),
        )
    )
    manifest = Manifest(root=str(pictures), layout="plain", entries=entries)
    write_record(tmp_path / "set.json", manifest)
    found = rejudge(bundle, tmp_path / "set.json", tmp_path / "out", where=TWO)
    assert found.labels[Label.GOOD][Verdict.PASS] == 1
    assert found.labels[Label.DEFECT][Verdict.REJECT] == 1
    cut = entries[0].model_copy(update={"roi": Roi(left=0.5)})
    write_record(tmp_path / "set.json", manifest.model_copy(update={"entries": (cut, entries[1])}))
    listed = open_archive(tmp_path / "set.json", "redness").list()
    assert [one.roi for one in listed] == [Roi(left=0.5), Roi()]
    assert found.note == "Pictures were judged whole. The manifest cuts nothing out."
    again = rejudge(bundle, tmp_path / "set.json", tmp_path / "out", where=TWO)
    assert again.note == "1 pictures were cut as the manifest says, 1 were judged whole."


def test_a_stations_record_tells_what_was_said_then(tmp_path: Path):
    """Kept frames are held against their verdicts of then; where nothing was cut, it says so."""
    config = configure(tmp_path, outputs=())
    fill(tmp_path)
    serve(config)
    (recipe,) = config.recipes["default"].values()
    same = rejudge(recipe.bundle, config.data_dir, tmp_path / "same", where=TWO)
    assert (same.known, same.changed) == (same.pictures, {})
    assert same.note.startswith("0 frames were cut as their events say, 2 judged whole as they")
    lax = Band(review_above=0.9, reject_above=0.95)
    other = rejudge(recipe.bundle, config.data_dir, tmp_path / "lax", band=lax, where=TWO)
    assert other.changed == {"REVIEW → PASS": 1}
    assert [row.score for row in rows(tmp_path / "lax")] == [
        row.score_then for row in rows(tmp_path / "lax")
    ]


def test_frames_of_a_station_are_cut_as_they_were_then(tmp_path: Path):
    """The left half of each part is good; judged whole, nothing would be as it was."""
    config = cutting(tmp_path, Roi(right=0.5))
    for left in (51, 60):
        put(tmp_path / "in", f"{left}.png", half_red(left))
    serve(config)
    same = rejudge(tmp_path / "bundle", config.data_dir, tmp_path / "same", where=TWO)
    assert (same.known, same.changed, same.verdicts[Verdict.PASS]) == (2, {}, 2)
    assert same.note == (
        "2 frames were cut as their events say, 0 judged whole as they were then. Guards and "
        "accept rules were not asked."
    )
    drop_roi(config.data_dir, 1)
    mixed = rejudge(tmp_path / "bundle", config.data_dir, tmp_path / "mixed", where=TWO)
    assert mixed.changed == {"PASS → REJECT": 1}
    assert mixed.note.startswith("1 frames were cut as their events say, 0 judged whole as they")
    assert "1 more of older events were judged whole: what a recipe cut out" in mixed.note
    drop_roi(config.data_dir, 2)
    old = rejudge(tmp_path / "bundle", config.data_dir, tmp_path / "old", where=TWO)
    assert old.note == f"{WHOLE} {NOT_ASKED}"


def test_what_a_recipe_cuts_otherwise_now_is_said(tmp_path: Path):
    """The configuration decides what is cut; then and now are not the same picture any more."""
    config = cutting(tmp_path, Roi(right=0.5))
    put(tmp_path / "in", "1.png", half_red())
    serve(config)
    file = tmp_path / "station.yaml"
    file.write_text(json.dumps(config.model_dump(mode="json")))
    kept = rejudge(tmp_path / "bundle", file, tmp_path / "kept", where=TWO)
    assert (kept.note, kept.changed) == (f"{BY_RECIPE} {NOT_ASKED}", {})
    moved = cutting(tmp_path, Roi(left=0.5))
    file.write_text(json.dumps(moved.model_dump(mode="json")))
    found = rejudge(tmp_path / "bundle", file, tmp_path / "moved", where=TWO)
    assert found.changed == {"PASS → REJECT": 1}
    assert "1 were cut otherwise then: what changed there may be for that." in found.note
    drop_roi(config.data_dir, 1)
    silent = rejudge(tmp_path / "bundle", file, tmp_path / "silent", where=TWO)
    assert "Of 1, older events do not say what was cut out then." in silent.note


def test_recipes_say_which_frames_are_the_bundles_and_what_is_cut(tmp_path: Path):
    """Of a configuration, only cameras whose recipe has a bundle of that name, with its ROI."""
    config = configure(tmp_path, outputs=())
    fill(tmp_path)
    serve(config)
    (recipe,) = config.recipes["default"].values()
    file = tmp_path / "station.yaml"
    (camera,) = config.recipes["default"]
    cut = recipe.model_copy(update={"roi": Roi(top=0.5)})
    changed = config.model_copy(update={"recipes": {"default": {camera: cut}}})
    file.write_text(json.dumps(changed.model_dump(mode="json")))
    listed = list(open_archive(file, "redness").list())
    assert {picture.roi for picture in listed} == {Roi(top=0.5)}
    with pytest.raises(ConfigError, match="none has a bundle named 'other'; found 'redness' for"):
        list(open_archive(file, "other").list())


def test_memory_does_not_grow_with_the_archive():
    """Tasks are taken only as there is room: never more than two for each thread."""
    begun: list[int] = []

    def tasks():
        for number in range(100):
            begun.append(number)
            yield number, lambda: 0

    with local_pool(2) as pool:
        for ended, _ in enumerate(run_all(pool, tasks())):
            assert len(begun) - ended <= 2 * 2
    assert len(begun) == 100


def test_what_has_not_begun_is_given_up_when_a_task_fails():
    """An error ends the run; tasks behind it are not begun."""
    begun: list[int] = []

    def fail(number: int) -> int:
        begun.append(number)
        raise InspectionError("no")

    with local_pool(1) as pool, pytest.raises(InspectionError, match="no"):
        list(run_all(pool, ((n, lambda n=n: fail(n)) for n in range(50))))
    assert len(begun) <= 2


def test_a_pool_that_nobody_is_left_in_is_noticed(monkeypatch: pytest.MonkeyPatch):
    """While nothing comes, somebody looks whether anybody is there."""
    monkeypatch.setattr("inspection.retraining.pool.LOOK_S", 0.01)
    release = threading.Event()

    def gone() -> None:
        release.set()
        raise InspectionError("nobody is left")

    with local_pool(1) as pool, pytest.raises(InspectionError, match="nobody is left"):
        list(run_all(Pool(pool.executor, 1, gone), [(1, release.wait)]))


def test_an_archive_that_is_not_mounted_is_no_fault_of_its_parts(bundle: Path, tmp_path: Path):
    """Where not one picture of a chunk is there, nothing is called FAULT: the place is wrong."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").symlink_to(tmp_path / "elsewhere" / f"{number}.png")
    with pytest.raises(DatasetError, match="nor any other picture of its chunk is there"):
        rejudge(bundle, folder, tmp_path / "out", where=TWO)


@pytest.mark.parametrize("kind", ["folder", "manifest", "record"])
def test_an_archive_without_a_picture_is_an_error_and_leaves_earlier_rows(
    bundle: Path, pictures: Path, tmp_path: Path, kind: str
):
    """A mount point without its mount is an empty folder; hours of judging hang on it."""
    out = tmp_path / "out"
    rejudge(bundle, pictures, out, where=TWO)
    before = files(out)
    empty = tmp_path / "mount"
    empty.mkdir()
    if kind == "manifest":
        empty = tmp_path / "set.json"
        write_record(empty, Manifest(root=str(pictures), layout="plain", entries=()))
    elif kind == "record":
        config = configure(tmp_path, outputs=())
        serve(config)
        empty = config.data_dir
    said = inspection("replay", bundle, empty, "--out", out)
    assert said.code == 2
    assert f"{empty}: found no picture; wanted at least one" in said.err
    assert "mount the archive or check the path" in said.err
    assert files(out) == before


@pytest.mark.fast
def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(tmp_path: Path):
    """So a mount that ended meanwhile, or that this user may not read, passes for nothing."""
    (tmp_path / "archive").mkdir()
    opened = open_archive(tmp_path / "archive", "redness")
    (tmp_path / "archive").rmdir()
    with pytest.raises(DatasetError, match=r"archive: cannot be listed \(No such file"):
        list(opened.list())


def test_a_name_that_is_no_utf8_is_escaped(bundle: Path, tmp_path: Path):
    """Any name a camera gave is judged, and stands in the rows as text."""
    folder = tmp_path / "archive"
    folder.mkdir()
    _, encoded = encode_part(0)
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png")).write_bytes(encoded)
    rejudge(bundle, folder, tmp_path / "out", where=TWO)
    assert [(row.name, row.verdict) for row in rows(tmp_path / "out")] == [
        ("\\xff.png", Verdict.PASS)
    ]


def test_a_name_with_a_line_break_of_unicode_is_one_row(bundle: Path, tmp_path: Path):
    """JSON lets U+2028, U+2029 and U+0085 stand as they are, and only a line feed ends a row."""
    archive, out = tmp_path / "odd", tmp_path / "out"
    archive.mkdir()
    names = [f"part{odd}{encode_part(1)[0]}" for odd in ("\u2028", "\u2029", "\x85", "\n")]
    for name in names:
        (archive / name).write_bytes(encode_part(1)[1])
    for _ in range(2):  # judged, then read again
        assert rejudge(bundle, archive, out).pictures == 4
    assert {row.name for row in rows(out)} == set(names)


def test_a_refused_bundle_judges_only_if_told(pictures: Path, tmp_path: Path):
    """As `inspection judge` does."""
    refused = make_bundle(tmp_path / "refused", gated=False)
    with pytest.raises(GateRefused):
        rejudge(refused, pictures, tmp_path / "out", where=TWO)
    assert (
        rejudge(refused, pictures, tmp_path / "out", where=TWO, allow_refused=True).pictures == 19
    )


def test_the_command_prints_counts_and_ends_with_three_for_a_fault(
    bundle: Path, pictures: Path, tmp_path: Path
):
    """Exit 3 when one could not be judged, 0 when all could; --json gives the summary."""
    words = ("replay", bundle, pictures, "--out", tmp_path / "out", "--threads", 1)
    said = inspection(*words)
    assert said.code == 3
    assert said.out.startswith("19 pictures: ")
    assert "1 FAULT" in said.out
    (pictures / "a" / "broken.png").unlink()
    said = inspection(*words, "--json")
    assert said.code == 0
    summary = (tmp_path / "out" / "summary.json").read_text()
    assert Rejudged.model_validate_json(said.out) == Rejudged.model_validate_json(summary)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--executor", "dusk://here:1"), "executor: String should match"),
        (("--review-above", 0.5), "found one; wanted both or none"),
    ],
    ids=["no such executor", "half a band"],
)
def test_wrong_use_of_the_command_ends_with_two(
    bundle: Path, pictures: Path, tmp_path: Path, words: tuple, complaint: str
):
    """Nothing is written."""
    said = inspection("replay", bundle, pictures, "--out", tmp_path / "out", *words)
    assert said.code == 2
    assert complaint in said.err
    assert not (tmp_path / "out").exists()


def test_what_is_no_archive_is_said(bundle: Path, tmp_path: Path):
    """The message names what would be one."""
    said = inspection("replay", bundle, tmp_path / "none", "--out", tmp_path / "out")
    assert said.code == 2
    assert "no archive; wanted a folder of pictures, a manifest" in said.err
