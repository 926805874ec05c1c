"""What a job learns from: the first set, and of the reviews what is sure."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from inspection.core.errors import DatasetError, UpdateImpossible
from inspection.core.geometry import Roi
from inspection.core.imaging import decode_image
from inspection.core.parts import HeldOut, load_part, load_part_mask
from inspection.core.records import Label, Manifest, Split, hash_file, read_manifest
from inspection.data.split import choose_split
from inspection.hub.datasets import ReviewedFrame, reviewed_frames
from inspection.hub.hub import Hub
from inspection.hub.pictures import SentPicture, keep_picture
from inspection.hub.refusals import NotThere
from inspection.hub.reviews import decide
from inspection.hub.tables import pictures
from inspection.hub.wire.retraining import JobKind
from inspection.hub.wire.review import Decision, NewReview
from inspection.metrics.calibration import normals_needed
from inspection.metrics.causes import Cause
from inspection.retraining.assemble import MANIFEST, RECENT, SPOILT, assemble, golden, is_reviewed
from inspection.retraining.divide import RULE
from tests.hub.parts import SENDER, add_picture, contradict, draw_mask, part, store
from tests.retraining.loop import raise_alarm
from tests.retraining.plant import (
    ANN,
    ASKED_AT,
    EXPORT,
    first_set,
    know_bundle,
    request_for,
    review,
    say,
)

GOODS = tuple(range(1, 31))


def with_outdated(manifest: Manifest, sha256s: set[str]) -> Manifest:
    """Give a set without good test parts, of which some parts set no threshold."""
    entries = [
        one.model_copy(update={"outdated": one.sha256 in sha256s})
        for one in manifest.entries
        if one.split is not Split.TEST or one.label is Label.DEFECT
    ]
    return manifest.model_copy(update={"entries": tuple(entries)})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return first_set(tmp_path_factory.mktemp("first"))


def assembled(hub: Hub, base: Path, out: Path, **changes) -> tuple[Manifest, Manifest]:
    assemble(hub, request_for(hub, base, **changes), out)
    return read_manifest(out / MANIFEST), read_manifest(out / RECENT)


def of_reviews(manifest: Manifest, label: Label) -> dict[str, Split]:
    entries = [one for one in manifest.entries if is_reviewed(one) and one.label is label]
    return {one.group: one.split for one in entries}


def test_reviewed_goods_teach_and_reviewed_defects_test(hub, base, tmp_path):
    """Good parts are divided by their hash, defects are in test; the golden split is as it was."""
    review(hub, *GOODS, defects=(40, 41))
    draw_mask(hub, 41)
    manifest, recent = assembled(hub, base, tmp_path / "out")
    goods, held_back = of_reviews(manifest, Label.GOOD), of_reviews(recent, Label.GOOD)
    groups = [f"part serial {number}" for number in GOODS]
    wanted = {group: choose_split(group, RULE, tested=True) for group in groups}
    assert goods | held_back == wanted
    assert {*goods.values()} == {Split.FIT, Split.CALIBRATE}
    assert {*held_back.values()} == {Split.TEST}
    bad = {"part serial 40": Split.TEST, "part serial 41": Split.TEST}
    assert of_reviews(manifest, Label.DEFECT) == of_reviews(recent, Label.DEFECT) == bad
    assert golden(manifest).entries == read_manifest(base).of(Split.TEST)
    for entry in manifest.entries:
        load_part(manifest, entry)
    masks = [load_part_mask(manifest, one) for one in manifest.entries if one.defect == "dent"]
    assert sorted(0 if mask is None else int(mask.sum()) for mask in masks) == [0, 10 * 20]


def test_after_a_change_parts_of_since_then_alone_set_thresholds(hub, base, tmp_path):
    """Of before it they are in calibrate all the same, for the guards."""
    review(hub, *GOODS)
    captured = {one.part_id: one.captured_at for one in frames_of(hub)}
    changed_at = captured["serial 11"]
    export = EXPORT.model_copy(update={"false_reject_rate": 0.2})
    manifest, recent = assembled(hub, base, tmp_path / "out", changed_at=changed_at, export=export)
    calibrate = manifest.of(Split.CALIBRATE)
    new = {f"part {part}" for part, at in captured.items() if at >= changed_at}
    assert {one.group for one in calibrate if not one.outdated} <= new
    assert {one.sha256 for one in read_manifest(base).of(Split.CALIBRATE)} <= {
        one.sha256 for one in calibrate if one.outdated
    }
    assert sum(not one.outdated for one in calibrate) >= normals_needed(0.2)
    before, all_recent = assembled(hub, base, tmp_path / "before", export=export)
    assert not any(one.outdated for one in before.entries)
    assert {one.group for one in recent.entries} == {
        one.group for one in all_recent.entries if one.group in new
    }
    too_few, _ = assembled(hub, base, tmp_path / "few", changed_at=captured["serial 29"])
    assert not any(one.outdated for one in too_few.entries)


def test_where_newer_parts_alone_set_thresholds_the_old_ones_stand_in_for_golden(base):
    """All of the first set's are outdated then; else what guards alone learn does not stand in."""
    manifest = read_manifest(base)
    normals = manifest.of(Split.CALIBRATE)
    for outdated, standing in ((normals, normals), (normals[:2], normals[2:])):
        found = golden(with_outdated(manifest, {one.sha256 for one in outdated}))
        assert {one.sha256 for one in HeldOut(found).goods} == {one.sha256 for one in standing}
        assert len(HeldOut(found).real_defects) == 4


def test_what_was_seen_before_a_hand_mended_it_teaches_nothing(sqlite_hub, base, tmp_path):
    review(sqlite_hub, 1, 2, 3)
    at = {one.part_id: one.captured_at for one in frames_of(sqlite_hub)}["serial 2"]
    raise_alarm(sqlite_hub, Cause.FOCUS, since=at, cleared_at=at, why_cleared="settled")
    request = request_for(sqlite_hub, base, asked_at=sqlite_hub.now())
    assert assemble(sqlite_hub, request, tmp_path / "out").left_out == {SPOILT: 1}


def frames_of(hub: Hub) -> list[ReviewedFrame]:
    with hub.database.reading() as connection:
        return reviewed_frames(connection, "line-1", "plate")


def test_the_same_request_gives_the_same_set_whatever_came_later(sqlite_hub, base, tmp_path):
    """Also a mask drawn later by a clock that is slow."""
    review(sqlite_hub, 1, 2, 3, defects=(5,))
    request = request_for(sqlite_hub, base)
    assemble(sqlite_hub, request, tmp_path / "early")
    review(sqlite_hub, 4)
    decide(sqlite_hub, "part-1", NewReview(decision=Decision.DEFECT, revision=1), ANN)
    draw_mask(sqlite_hub, 5, at=ASKED_AT - timedelta(days=1))
    assemble(sqlite_hub, request, tmp_path / "late")
    early, late = (hash_file(tmp_path / name / MANIFEST) for name in ("early", "late"))
    assert early == late


def test_what_is_not_sure_teaches_nothing_and_is_counted(sqlite_hub, base, tmp_path):
    """One part for each reason to leave it out; two stay."""
    hub = sqlite_hub
    review(hub, 1, 2, defects=(3,))
    store(hub, *(part(number, 1.5) for number in range(4, 8)), part(8, None))
    store(hub, part(9, 1.5, bundle_id="c" * 64), part(10, 1.5))
    again = part(11, 1.5).model_copy(update={"part_id": "serial 3"})
    store(hub, again)
    for number in (4, 5, 7, 8, 9, 11):
        add_picture(hub, number)
    add_picture(hub, 6, seed=1)
    know_bundle(hub, "c" * 64, "lid")
    store(hub, part(12, 1.5, bundle_id="d" * 64), part(13, 1.5))
    for number in (12, 13):
        add_picture(hub, number)
    draw_mask(hub, 4)
    for number in (4, 6, 7, 8, 9, 10, 11, 12, 13):
        say(hub, number, Decision.GOOD)
    contradict(hub, 13, Decision.DEFECT)
    say(hub, 5, Decision.UNSURE)
    seven = sha256_of(hub, 7)
    report = assemble(hub, request_for(hub, base, forgotten=(seven,)), tmp_path / "out")
    assert report.left_out == {
        "decided good and shown defective": 1,
        "same picture as a part decided later": 1,
        "forgotten": 1,
        "no bundle could judge the picture": 1,
        "judged by a bundle of another name": 1,
        "judged by a bundle that is not on the hub": 1,
        "another person says otherwise": 1,
        "picture is not here": 1,
        "good, but another picture of the part shows a defect": 1,
    }
    assert (report.goods + report.held_back, report.defects) == (2, {"dent": 1})


def sha256_of(hub: Hub, number: int) -> str:
    with hub.database.reading() as connection:
        wanted = select(pictures.c.sha256).where(pictures.c.event_id == f"part-{number}")
        return connection.execute(wanted).scalar_one()


def test_of_a_picture_teaches_what_was_judged_of_it(sqlite_hub, base, tmp_path):
    """The station's recipe had cut it; what people drew is cut alike."""
    hub, right = sqlite_hub, Roi(left=0.5)
    know_bundle(hub)
    for number, decision in ((1, Decision.GOOD), (2, Decision.DEFECT), (3, Decision.DEFECT)):
        judged = part(number, 1.5, "side", "top") if number == 2 else part(number, 1.5)
        frames = tuple(
            one.model_copy(update={"roi": Roi(right=0.25) if number == 3 else right})
            for one in judged.frames
        )
        store(hub, judged.model_copy(update={"frames": frames}))
        encoded = add_picture(hub, number)
        draw_mask(hub, number, empty=number == 1)
        say(hub, number, decision)
        if number == 1:
            pixels = decode_image(encoded, "part")
    report = assemble(hub, request_for(hub, base), tmp_path / "out")
    assert report.left_out == {"the defect lies outside what is judged of the picture": 1}
    manifest = read_manifest(tmp_path / "out" / MANIFEST)
    recent = read_manifest(tmp_path / "out" / RECENT)
    good, bad = (
        next(
            one
            for one in (*manifest.entries, *recent.entries)
            if is_reviewed(one) and one.label is label
        )
        for label in Label
    )
    assert (good.height_px, good.width_px) == (bad.height_px, bad.width_px) == (64, 40)
    assert np.array_equal(load_part(manifest, good), pixels[:, 40:])
    mask = load_part_mask(manifest, bad)
    assert (mask.shape, int(mask.sum())) == ((64, 40), 10 * 10)


def test_too_few_recent_parts_are_none(sqlite_hub, base, tmp_path):
    review(sqlite_hub, defects=(1, 2, 3))
    request = request_for(sqlite_hub, base)
    for least, found in ((3, 3), (4, 0)):
        out = tmp_path / str(least)
        assemble(sqlite_hub, request, out, least)
        assert len(read_manifest(out / RECENT).entries) == found


def test_a_forgotten_picture_leaves_every_split(sqlite_hub, base, tmp_path):
    first = read_manifest(base)
    gone = sorted(first.of(split)[0].sha256 for split in Split)
    request = request_for(sqlite_hub, base, forgotten=tuple(gone))
    report = assemble(sqlite_hub, request, tmp_path / "out")
    left = {one.sha256 for one in read_manifest(tmp_path / "out" / MANIFEST).entries}
    assert report.forgotten == 3
    assert left == {one.sha256 for one in first.entries} - set(gone)


def test_a_picture_of_fit_that_shows_a_defect_moves_to_test(sqlite_hub, base, tmp_path):
    """Reviewers may find what the first set took for good."""
    first = read_manifest(base)
    entry = first.of(Split.FIT)[0]
    hub = sqlite_hub
    know_bundle(hub)
    store(hub, part(1, 4.0))
    encoded = Path(first.root, entry.path).read_bytes()
    keep_picture(hub, SENDER, SentPicture("part-1", "1-top.png", encoded, entry.sha256))
    say(hub, 1, Decision.DEFECT)
    report = assemble(hub, request_for(hub, base), tmp_path / "out")
    (found,) = (
        one
        for one in read_manifest(tmp_path / "out" / MANIFEST).entries
        if one.sha256 == entry.sha256
    )
    assert (found.split, found.label, report.corrected) == (Split.TEST, Label.DEFECT, 1)


def test_a_set_that_changed_since_is_refused(sqlite_hub, base, tmp_path):
    request = request_for(sqlite_hub, base, manifest_sha256="0" * 64)
    with pytest.raises(DatasetError, match="put the manifest back, or ask again"):
        assemble(sqlite_hub, request, tmp_path / "out")


def test_a_picture_of_the_first_set_that_is_gone_is_named(sqlite_hub, tmp_path):
    base = first_set(tmp_path)
    manifest = read_manifest(base)
    Path(manifest.root, manifest.entries[0].path).unlink()
    with pytest.raises(DatasetError, match=f"'{manifest.entries[0].path}' of the manifest is gone"):
        assemble(sqlite_hub, request_for(sqlite_hub, base), tmp_path / "out")
    assert [one.name for one in tmp_path.iterdir() if "out" in one.name] == []


def test_a_champion_that_is_not_here_is_named(sqlite_hub, base, tmp_path):
    request = request_for(sqlite_hub, base, champion_id="d" * 64)
    with pytest.raises(NotThere, match="is not on this hub"):
        assemble(sqlite_hub, request, tmp_path / "out")


def test_new_guards_need_a_bundle_that_judges(sqlite_hub, base, tmp_path):
    request = request_for(sqlite_hub, base, kind=JobKind.GUARDS)
    with pytest.raises(UpdateImpossible, match="new guards need a bundle that judges; ask for"):
        assemble(sqlite_hub, request, tmp_path / "out")
    assert not (tmp_path / "out").exists()
