"""Refining at the desk: masks, COCO and the table say the same, and no verdict changes."""

import csv
import json
import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspection.bundles.bundle import open_bundle
from inspection.core.decision import AcceptRule, Band, Verdict
from inspection.core.errors import ConfigError, InspectionError
from inspection.core.geometry import Geometry, Roi
from inspection.core.imaging import load_mask
from inspection.masks.refine import Refiner
from inspection.masks.settings import RefineSettings
from inspection.review.reading import Recorded, Source, find_pictures
from inspection.review.refining import (
    ANNOTATIONS,
    COLUMNS,
    MASKS,
    TABLE,
    Acceptance,
    Desk,
    Framing,
    refine_pictures,
)
from tests.review.desk import RedSegmenter, event, mask, part, save
from tests.review.test_coco import fill

pytestmark = pytest.mark.fast

ONE, TWO = (48, 24, 72, 48), (120, 48, 144, 72)  # each a cell of the map
BELIEVING = RefineSettings(growth=100.0, agreement=0.0, cover=0.0, contrast=0.0)
FAINT = (52, 28, 68, 44)  # so much of a cell that its score lies within the band


@pytest.fixture
def desk(redness: Path) -> Desk:
    """A desk whose segmenter knows the truth."""
    return Desk(open_bundle(redness), Refiner(RedSegmenter(), BELIEVING))


def rows(out: Path) -> list[dict[str, str]]:
    """Read the table."""
    with (out / TABLE).open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_masks_polygons_and_table_say_the_same(desk: Desk, tmp_path: Path):
    """Two defects: the mask is the truth, its polygons fill it, a row measures each."""
    bad = save(tmp_path / "bad.png", part(ONE, TWO))
    out = tmp_path / "out"
    found = refine_pictures(desk, [Source(bad)], out)
    (picture,) = found.pictures
    assert (picture.verdict, picture.score, found.problems) == (Verdict.REJECT, 1.0, ())
    np.testing.assert_array_equal(load_mask(out / picture.mask), mask(ONE, TWO))
    file = json.loads((out / ANNOTATIONS).read_text())
    polygons = [tuple(one) for ann in file["annotations"] for one in ann["segmentation"]]
    np.testing.assert_array_equal(fill(tuple(polygons), (96, 192)), mask(ONE, TWO))
    assert [ann["attributes"] for ann in file["annotations"]] == [
        {"trusted": True, "reason": ""}
    ] * 2
    assert sorted(ann["bbox"] for ann in file["annotations"]) == [
        [48, 24, 24, 24],
        [120, 48, 24, 24],
    ]
    first, second = rows(out)
    assert tuple(first) == COLUMNS
    assert {first["x_px"], second["x_px"]} == {"60.0", "132.0"}
    assert [(row["defect"], row["area_px"]) for row in (first, second)] == [
        *(("1", "576"), ("2", "576")),
    ]
    peaks = [ann["score"] for ann in file["annotations"]]
    assert [row["peak"] for row in (first, second)] == [f"{peak:.6g}" for peak in peaks]
    assert (first["image"], first["verdict"], first["trusted"]) == (str(bad), "REJECT", "true")
    assert (first["event_id"], first["area_mm2"], first["x_mm"]) == ("", "", "")
    assert first["segmenter"] == desk.refiner.segmenter.name


def test_good_parts_are_listed_without_defects(desk: Desk, tmp_path: Path):
    """A PASS has its picture in COCO and an empty mask, and no row."""
    good = save(tmp_path / "good.png", part())
    found = refine_pictures(desk, [Source(good)], tmp_path / "out")
    (picture,) = found.pictures
    assert (picture.verdict, picture.defects.found) == (Verdict.PASS, ())
    assert picture.note == "nothing of the map lies above the band"
    assert not load_mask(tmp_path / "out" / picture.mask).any()
    file = json.loads((tmp_path / "out" / ANNOTATIONS).read_text())
    assert [one["file_name"] for one in file["images"]] == ["good.png"]
    assert (file["annotations"], rows(tmp_path / "out")) == ([], [])


def test_what_cannot_be_read_is_told_and_the_others_are_done(desk: Desk, tmp_path: Path):
    """A text, a missing file and a tiny picture stand between two parts."""
    (tmp_path / "text.png").write_text("no picture")
    save(tmp_path / "tiny.png", part(size_hw=(8, 40)))
    save(tmp_path / "a.png", part(ONE))
    save(tmp_path / "b.png", part())
    names = ("a.png", "text.png", "gone.png", "tiny.png", "b.png")
    desk = replace(desk, framing=Framing(roi=Roi(top=0.5)))
    found = refine_pictures(desk, [Source(tmp_path / name) for name in names], tmp_path / "out")
    assert [one.path.name for one in found.pictures] == ["a.png", "b.png"]
    assert [problem.split(": ")[0] for problem in found.problems] == [
        str(tmp_path / name) for name in ("text.png", "gone.png", "tiny.png")
    ]


class OutOfMemory(RedSegmenter):
    """Fails at bright parts."""

    def set_image(self, pixels):
        """Refuse what is bright, by an error that knows no file."""
        if pixels[0, 0, 2] > 100:
            raise InspectionError("segmenter: out of memory; close other programs")
        return super().set_image(pixels)


def test_a_segmenter_that_fails_on_one_part_spares_the_others(desk: Desk, tmp_path: Path):
    """Whatever error of ours it is, it is that picture's."""
    bright = part(ONE)
    bright[bright[:, :, 0] < 100] = (20, 60, 120)
    paths = [save(tmp_path / "bright.png", bright), save(tmp_path / "dark.png", part(ONE))]
    desk = replace(desk, refiner=Refiner(OutOfMemory(), BELIEVING))
    found = refine_pictures(desk, [Source(path) for path in paths], tmp_path / "out")
    assert [one.path.name for one in found.pictures] == ["dark.png"]
    assert found.problems == (f"{paths[0]}: segmenter: out of memory; close other programs",)


def test_a_bundle_whose_maps_place_is_not_known_warns(desk: Desk, tmp_path: Path, caplog):
    """Its outlines may lie beside defects; one that was measured says nothing."""
    refine_pictures(desk, [], tmp_path / "measured")
    assert caplog.records == []
    values = desk.bundle.card.geometry.model_dump(exclude={"map_shift"})
    old = Geometry.model_validate(values)
    desk.bundle.card = desk.bundle.card.model_copy(update={"geometry": old})
    refine_pictures(desk, [], tmp_path / "old")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"{desk.bundle.path}: made before its map's place was measured, so outlines may lie "
        "beside defects; export it again"
    )


def test_outlines_of_a_cut_lie_on_the_whole_picture(desk: Desk, tmp_path: Path):
    """The recipe's ROI is judged; the mask is as large as the picture, red beside it is none."""
    large = part((0, 0, 90, 30), size_hw=(176, 292))
    large[30:126, 90:282] = part(ONE)
    bad = save(tmp_path / "bad.png", large)
    roi = Roi(top=30 / 176, left=90 / 292, bottom=126 / 176, right=282 / 292)
    cut = replace(desk, framing=Framing(roi=roi, mm_per_px=0.5))
    found = refine_pictures(cut, [Source(bad)], tmp_path / "out")
    truth = mask((138, 54, 162, 78), size_hw=(176, 292))
    np.testing.assert_array_equal(load_mask(tmp_path / "out" / MASKS / "bad.png"), truth)
    (row,) = rows(tmp_path / "out")
    assert (row["x_px"], row["y_px"], row["area_px"]) == ("150.0", "66.0", "576")
    assert (row["x_mm"], row["y_mm"], row["area_mm2"]) == ("75", "33", "144")
    assert float(row["length_mm"]) == float(row["length_px"]) / 2
    assert found.pictures[0].defects.mm_per_px == 0.5


def test_an_events_frame_is_held_against_its_own_band(desk: Desk, tmp_path: Path):
    """The thresholds in force then decide what is a defect, not the bundle's."""
    faint = save(tmp_path / "faint.png", part(FAINT))
    score = desk.bundle.judge(part(FAINT)).score
    assert 0.4 < score < 0.5
    plain = refine_pictures(desk, [Source(faint)], tmp_path / "plain")
    recorded = Recorded("e1", score, Band(review_above=0.4, reject_above=0.45))
    strict = refine_pictures(desk, [Source(faint, recorded)], tmp_path / "strict")
    assert (plain.pictures[0].verdict, plain.pictures[0].event_id) == (Verdict.PASS, None)
    assert (strict.pictures[0].verdict, strict.pictures[0].event_id) == (Verdict.REJECT, "e1")
    assert [row["event_id"] for row in rows(tmp_path / "strict")] == ["e1"]


def test_a_frame_that_scores_otherwise_than_its_event_is_refused(desk: Desk, tmp_path: Path):
    """Without the recipe's ROI another part is judged; its outlines would be those of nothing."""
    large = part(size_hw=(192, 192))
    large[:96] = part(ONE)
    bad = save(tmp_path / "bad.png", large)
    source = Source(bad, Recorded("e1", 1.0, Band(review_above=0.2, reject_above=0.8)))
    whole = refine_pictures(desk, [source], tmp_path / "whole")
    assert whole.pictures == ()
    assert whole.problems == (
        f"{bad}: the score is 0.5392; its event says 1; give --roi as the station's recipe has it",
    )
    cut = replace(desk, framing=Framing(roi=Roi(bottom=0.5)))
    assert refine_pictures(cut, [source], tmp_path / "cut").problems == ()


def test_a_score_that_is_no_number_is_told(desk: Desk, tmp_path: Path, monkeypatch):
    """Nothing is outlined on a map of NaN."""
    bad = save(tmp_path / "bad.png", part(ONE))
    nothing = np.full((1, 4, 8), np.nan, np.float32)
    monkeypatch.setattr("inspection.bundles.graph.Graph.outputs", lambda *_: (nothing,))
    found = refine_pictures(desk, [Source(bad)], tmp_path / "out")
    assert found.problems == (f"{bad}: the score is nan; look at the light and the part",)


def test_rules_only_tell_what_would_be(desk: Desk, tmp_path: Path):
    """The verdict stays REJECT; the rule that would accept it is named."""
    bad = save(tmp_path / "bad.png", part(ONE))
    rules = Acceptance(
        accept=(AcceptRule(name="spots", area_below=600.0, unit="px", then=Verdict.PASS),)
    )
    found = refine_pictures(replace(desk, acceptance=rules), [Source(bad)], tmp_path / "out")
    (picture,) = found.pictures
    assert (picture.verdict, picture.would_be) == (Verdict.REJECT, Verdict.PASS)
    assert picture.accepted == "accepted by 'spots'"
    assert rows(tmp_path / "out")[0]["verdict"] == "REJECT"


def test_rules_in_mm_need_the_scale(desk: Desk, tmp_path: Path):
    """It is told before anything is judged, and nothing is written."""
    rules = Acceptance(accept=(AcceptRule(name="small", area_below=0.2),))
    with pytest.raises(ConfigError, match="accept rules 'small' have bounds in mm"):
        refine_pictures(replace(desk, acceptance=rules), [], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_refused(desk: Desk, tmp_path: Path):
    """Neither pictures nor an earlier result are written over."""
    bad = save(tmp_path / "parts" / "bad.png", part(ONE))
    before = bad.read_bytes()
    with pytest.raises(ConfigError, match="parts: exists already"):
        refine_pictures(desk, [Source(bad)], tmp_path / "parts")
    assert bad.read_bytes() == before
    assert list((tmp_path / "parts").iterdir()) == [bad]


def test_pictures_of_one_name_lie_apart(desk: Desk, tmp_path: Path):
    """Masks and COCO's names follow the folders below the common parent."""
    paths = [save(tmp_path / "set" / name, part(ONE)) for name in ("a/0.png", "b/0.png", "b/1.bmp")]
    refine_pictures(desk, [Source(path) for path in paths], tmp_path / "out")
    file = json.loads((tmp_path / "out" / ANNOTATIONS).read_text())
    names = [(one["file_name"], one["attributes"]["mask"]) for one in file["images"]]
    assert names == [
        ("a/0.png", "masks/a/0.png"),
        ("b/0.png", "masks/b/0.png"),
        ("b/1.bmp", "masks/b/1.bmp.png"),
    ]
    assert all((tmp_path / "out" / place).is_file() for _, place in names)


def test_a_name_that_is_no_unicode_hinders_nobody(desk: Desk, tmp_path: Path):
    """Its bytes stand escaped in table and COCO."""
    bad = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.png"))
    Image.fromarray(part(ONE)).save(bad, "PNG")
    refine_pictures(desk, [Source(bad)], tmp_path / "out")
    assert rows(tmp_path / "out")[0]["image"].endswith("bad\\udcff.png")
    file = json.loads((tmp_path / "out" / ANNOTATIONS).read_text())
    assert file["images"][0]["file_name"] == "bad\\udcff.png"


def test_a_name_that_a_spreadsheet_evaluates_is_a_text(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A picture's name and an event's id come from outside; numbers stay numbers."""
    monkeypatch.chdir(tmp_path)
    save(Path("=1+1.png"), part(ONE))
    refine_pictures(desk, [Source(Path("=1+1.png"))], tmp_path / "out")
    (row,) = rows(tmp_path / "out")
    assert (row["image"], row["area_px"]) == ("'=1+1.png", "576")


def test_no_pictures_are_an_empty_result(desk: Desk, tmp_path: Path):
    """Events of which nothing was kept give a file that reads, and a table with its head."""
    assert refine_pictures(desk, [], tmp_path / "out").pictures == ()
    assert json.loads((tmp_path / "out" / ANNOTATIONS).read_text())["images"] == []
    assert (tmp_path / "out" / TABLE).read_text() == ",".join(COLUMNS) + "\n"


# Which pictures are found


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Events of a station: two kept, one of them printed twice, one dropped, and so on."""
    kept = [event(1, "ours"), event(2, "ours", 0.6, verdict=Verdict.REVIEW)]
    others = [
        event(3, "ours"),
        event(4, "ours", 0.1, verdict=Verdict.PASS, image=None),
        event(5, "theirs"),
        event(6, "ours", None, verdict=Verdict.FAULT),
    ]
    for one in [*kept, *others[2:]]:
        save(tmp_path / "pictures" / one.verdict / one.frames[0].image, part(ONE))
    lines = [one.model_dump_json() for one in [*kept, kept[0], *others]]
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "events.jsonl"


def test_kept_frames_of_this_bundle_are_found(record: Path):
    """Each once, with score and band of its event; what is left out is counted."""
    found = find_pictures([record], "ours")
    folder = record.parent / "pictures"
    band = Band(review_above=0.4, reject_above=1)
    assert found.pictures == (
        Source(folder / "REJECT" / "0000000001-top.png", Recorded(f"{1:032x}", 1.0, band)),
        Source(folder / "REVIEW" / "0000000002-top.png", Recorded(f"{2:032x}", 0.6, band)),
    )
    assert (found.not_kept, found.other_frames, found.problems) == (2, 2, ())


def test_lines_that_are_no_events_are_told(record: Path):
    """A torn line, one of another kind: file and line, and the others are read."""
    whole = record.read_text()
    record.write_text('{"schema_version": 1, "status": "READY"}\n' + whole + whole[:40])
    found = find_pictures([record], "ours")
    assert len(found.pictures) == 2
    assert [problem.split(": ")[0] for problem in found.problems] == [f"{record}:1", f"{record}:9"]


def test_blank_lines_are_no_faults(record: Path):
    """Neither is the end of line of another system; places still count them."""
    lines = record.read_text().split("\n")
    record.write_bytes("\r\n".join(["", *lines[:2], "  ", *lines[2:], "{"]).encode())
    found = find_pictures([record], "ours")
    assert len(found.pictures) == 2
    assert [problem.split(": ")[0] for problem in found.problems] == [f"{record}:11"]


def test_text_of_an_event_may_hold_any_letter(tmp_path: Path):
    """U+2028 and U+0085, which JSON leaves as they are, end no line of a file of events."""
    one = event(1, "ours", reason="first\u2028second\u0085third")
    save(tmp_path / "pictures" / "REJECT" / one.frames[0].image, part(ONE))
    (tmp_path / "events.jsonl").write_text(one.model_dump_json() + "\n", encoding="utf-8")
    found = find_pictures([tmp_path / "events.jsonl"], "ours")
    assert (len(found.pictures), found.problems) == (1, ())


def test_a_complaint_about_a_line_is_one_line(record: Path):
    """What is wrong with it first, how much more there is, and no address of a manual."""
    broken = record.read_text().split("\n")[0].replace('"sequence":1', '"sequence":0')
    record.write_text('{"status": "READY"}\n' + broken + "\n[]\n" + record.read_text())
    missing, small, no_record = find_pictures([record], "ours").problems
    assert missing.startswith(f"{record}:1: not an event: event_id: Field required, and ")
    assert missing.endswith(" more")
    assert small.endswith(":2: not an event: sequence: Input should be greater than or equal to 1")
    assert no_record.startswith(f"{record}:3: not an event: whole line: Input should be a valid")
    assert not any("\n" in one or "http" in one for one in (missing, small, no_record))


@pytest.mark.parametrize("content", ["", "\n\n", '{\n "images": []\n}\n', "[]"])
def test_a_file_without_any_event_is_wrong_use(record: Path, content: str):
    """COCO JSON, say; an empty result would look like one without defects."""
    record.write_text(content)
    with pytest.raises(ConfigError, match=r"no line of .*events\.jsonl is one; write it by insp"):
        find_pictures([record], "ours")


def test_a_picture_named_twice_is_refined_once(tmp_path: Path, monkeypatch):
    """However its place is said."""
    monkeypatch.chdir(tmp_path)
    save(Path("parts/a.png"), part(ONE))
    names = ("parts/a.png", "./parts/a.png", "parts/../parts/a.png", tmp_path / "parts/a.png")
    assert len(find_pictures([Path(name) for name in names], "ours").pictures) == 1


def test_pictures_may_lie_elsewhere_and_files_be_mixed(record: Path, tmp_path: Path):
    """--pictures names the folder; a picture that an event names, too, is taken once."""
    moved = (tmp_path / "pictures").rename(tmp_path / "copied")
    with pytest.raises(ConfigError, match="pictures: no such folder; wanted the frames that the"):
        find_pictures([record], "ours")
    loose = moved / "REJECT" / "0000000001-top.png"
    found = find_pictures([loose, record, loose], "ours", moved)
    assert [(one.path, bool(one.recorded)) for one in found.pictures] == [
        (loose, True),
        (moved / "REVIEW" / "0000000002-top.png", True),
    ]


def test_events_that_cannot_be_read_are_wrong_use(tmp_path: Path):
    """A file that is not there, with a folder of pictures that is."""
    (tmp_path / "pictures").mkdir()
    with pytest.raises(ConfigError, match=r"gone\.jsonl: cannot be read"):
        find_pictures([tmp_path / "gone.jsonl"], "ours")
