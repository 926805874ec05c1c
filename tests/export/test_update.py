"""A bundle's bank takes in new pictures and lets go of others, without fitting anew."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from inspection.bundles.bundle import open_bundle, read_card
from inspection.bundles.graph import Graph
from inspection.bundles.seal import seal_bundle, verify_bundle
from inspection.core.errors import DatasetError, UpdateImpossible
from inspection.core.gate import GateRecord
from inspection.core.parts import FitTiles, load_part
from inspection.core.records import Interval, Split, read_manifest, write_record
from inspection.core.settings import GateLimits
from inspection.export import gate
from inspection.export.bank import BANK, read_bank, trace, vectors_of
from inspection.export.build import export_bundle
from inspection.export.gate import find_refusals, gate_bundle
from inspection.export.patchcore import embed, fill_banks
from inspection.export.update import cut_features, draw_candidates, update_bundle
from tests.training.tiny import EXPORT, GEOMETRY, tiny_config, write_manifest

OPEN = EXPORT.model_copy(
    update={
        "gate": GateLimits(  # random weights tell nothing apart
            feature_correlation=0,
            map_correlation=0,
            estimated_map_correlation=0,
            score_correlation=0,
            auroc_drop=1,
            auroc_least=0,
            false_reject_factor=1e6,
        )
    }
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A set of 10 fit, 9 calibrate and 14 test parts."""
    folder = tmp_path_factory.mktemp("set")
    return write_manifest(folder, fit=10, calibrate=9, test_good=6, per_defect=4)


def without(manifest: Path, places: set[int], out: Path) -> Path:
    """Write a manifest without some pictures of fit."""
    data = read_manifest(manifest)
    gone = {data.of(Split.FIT)[place].path for place in places}
    entries = tuple(entry for entry in data.entries if entry.path not in gone)
    write_record(out, data.model_copy(update={"entries": entries}))
    return out


@pytest.fixture(scope="module")
def champion(whole: Path, tmp_path_factory, _trainer: None) -> Path:
    """A gated bundle that has not seen pictures 0, 4 and 9 of fit."""
    from inspection.training.fit import train

    folder = tmp_path_factory.mktemp("champion")
    train(tiny_config(), without(whole, {0, 4, 9}, folder / "base.json"), folder / "run")
    export_bundle(folder / "run", OPEN, folder / "bundle")
    gated(folder / "bundle")
    return folder / "bundle"


def gated(folder: Path) -> GateRecord:
    """Put a bundle to its gate without waiting for timings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inspection.export.evidence.TIMED_RUNS", 10)
        patch.setattr("inspection.export.evidence.WARM_RUNS", 2)
        return gate_bundle(folder)


@pytest.fixture(scope="module")
def updated(champion: Path, whole: Path, tmp_path_factory) -> Path:
    """The same with those three."""
    out = tmp_path_factory.mktemp("updated") / "bundle"
    update_bundle(champion, whole, OPEN, out)
    return out


def test_new_pictures_enter_and_the_budget_holds(champion: Path, updated: Path, whole: Path):
    """As many vectors as before; some of each new picture, whose cells are all judged ones."""
    fitted = read_manifest(whole).of(Split.FIT)
    assert len(read_bank(updated)) == len(read_bank(champion)) == 96
    for place in (0, 4, 9):
        assert vectors_of(champion, fitted[place].sha256) == 0
        assert vectors_of(updated, fitted[place].sha256) > 0
    assert {one.sha256 for one in trace(updated)} <= {entry.sha256 for entry in fitted}
    assert {one.tile for one in trace(updated)} == {0}
    assert {one.cell for one in trace(updated)} <= set(range(16 * 24))


def test_every_vector_is_what_its_traced_cell_gives(champion: Path, updated: Path, whole: Path):
    """Old or new, shipped or reference: reading the named cells again gives the same vectors."""
    card, bank = read_card(champion), read_bank(updated)
    features, small = (
        cut_features(champion / name, card.train.backbone.layers)
        for name in ("reference.xml", "model.xml")
    )
    pair = embed(features, small, card.train.patchcore)
    again = fill_banks(pair, bank.index, FitTiles(read_manifest(whole), GEOMETRY))
    np.testing.assert_allclose(bank.reference, again.reference, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(bank.shipped, again.shipped, rtol=1e-4, atol=1e-4)


def test_the_card_says_what_it_comes_from(champion: Path, updated: Path):
    """Champion, new vectors and the thresholds of the graph that now ships."""
    card, known = read_card(updated), read_card(champion)
    assert card.updated_from == verify_bundle(champion)
    assert known.updated_from is None
    assert (card.name, card.run_sha256, card.weights) == (
        known.name,
        known.run_sha256,
        known.weights,
    )
    assert card.geometry == known.geometry
    assert "vectors of 3 new pictures, 0 left with pictures that are gone" in card.graph_note
    assert card.calibrate_scores != known.calibrate_scores


def test_thresholds_are_those_of_the_updated_graph(updated: Path, whole: Path):
    """Judging the calibrate parts with the bundle gives the very scores on its card."""
    opened, data = open_bundle(updated, allow_refused=True), read_manifest(whole)
    scores = [opened.judge(load_part(data, entry)).score for entry in data.of(Split.CALIBRATE)]
    assert sorted(scores) == pytest.approx(list(opened.card.calibrate_scores), rel=1e-6)


def test_outdated_parts_set_no_threshold_but_the_guards_know_them(
    champion: Path, updated: Path, whole: Path, tmp_path: Path
):
    data = read_manifest(whole)
    old = {one.sha256 for one in data.of(Split.CALIBRATE)[::2]}
    entries = [one.model_copy(update={"outdated": one.sha256 in old}) for one in data.entries]
    write_record(tmp_path / "set.json", data.model_copy(update={"entries": tuple(entries)}))
    card = update_bundle(champion, tmp_path / "set.json", OPEN, tmp_path / "bundle")
    all_of_it = read_card(updated)
    assert len(card.calibrate_scores) == len(all_of_it.calibrate_scores) - len(old)
    assert set(card.calibrate_scores) < set(all_of_it.calibrate_scores)
    assert card.guards == all_of_it.guards


def test_a_picture_that_left_fit_leaves_no_vector(updated: Path, whole: Path, tmp_path: Path):
    """Forgetting is an update by a manifest without the picture; other vectors stay theirs."""
    gated(updated)
    forgotten = read_manifest(whole).of(Split.FIT)[2].sha256
    before = vectors_of(updated, forgotten)
    update_bundle(updated, without(whole, {2}, tmp_path / "m.json"), OPEN, tmp_path / "bundle")
    assert before > 0
    assert vectors_of(tmp_path / "bundle", forgotten) == 0
    assert len(read_bank(tmp_path / "bundle")) == 96 - before
    kept = [one for one in trace(updated) if one.sha256 != forgotten]
    assert sorted(trace(tmp_path / "bundle")) == sorted(kept)


def test_an_update_that_changes_nothing_judges_the_same(champion: Path, tmp_path: Path):
    """The same pictures: the reference computes the same maps, and so does what ships."""
    update_bundle(champion, champion / "manifest.json", OPEN, tmp_path / "bundle")
    tile = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    for name in ("reference.xml", "model.xml"):
        before, after = (Graph(folder / name)(tile) for folder in (champion, tmp_path / "bundle"))
        np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-3)


def test_the_same_update_gives_the_same_graph(champion: Path, updated: Path, whole: Path, tmp_path):
    """Nothing of it is left to chance."""
    update_bundle(champion, whole, OPEN, tmp_path / "bundle")
    for name in ("model.bin", "reference.bin", BANK):
        assert (tmp_path / "bundle" / name).read_bytes() == (updated / name).read_bytes()


def test_candidates_depend_on_the_picture_and_not_on_its_place(whole: Path, tmp_path: Path):
    """The same picture under another number gives the same cells."""
    config = tiny_config()
    tiles = FitTiles(read_manifest(whole), GEOMETRY)
    fewer = FitTiles(read_manifest(without(whole, {0, 1, 2}, tmp_path / "m.json")), GEOMETRY)
    first = draw_candidates(tiles, [5], (16, 24), config).cell
    second = draw_candidates(fewer, [2], (16, 24), config).cell
    assert len(first) == 100  # 1,000 of 10 tiles
    assert second[:100].tolist() == first.tolist()


def test_the_gate_of_an_update_asks_fp32_on_some_parts_only(
    updated: Path, tmp_path: Path, monkeypatch
):
    """Every part is judged by what ships; the record says how many were compared."""
    monkeypatch.setattr(gate, "COMPARED", 2)
    copy = Path(shutil.copytree(updated, tmp_path / "bundle"))
    record = gated(copy)
    asked = [row.reference_score is not None for row in record.rows]
    assert asked == [number in {0, 3, 6, 10} for number in range(14)]
    assert record.compared == 4
    assert record.reference_aupro is None
    assert record.aupro is not None
    assert set(record.feature_correlations) == {
        *("feature.layer1", "feature.layer2", "pooled.layer1", "pooled.layer2")
    }
    assert record.passed


def test_what_some_parts_leave_open_all_of_them_decide(updated: Path, tmp_path: Path, monkeypatch):
    """Else chance would refuse most updates of a product whose classes overlap."""
    monkeypatch.setattr(gate, "COMPARED", 2)
    monkeypatch.setattr(
        gate, "find_refusals", lambda record, card: () if record.compared is None else ("unsure",)
    )
    record = gated(Path(shutil.copytree(updated, tmp_path / "bundle")))
    assert record.passed
    assert all(row.reference_score is not None for row in record.rows)


def test_the_gate_of_a_bundle_fitted_anew_asks_fp32_on_all(champion: Path, tmp_path, monkeypatch):
    """Few parts are enough for an update only."""
    monkeypatch.setattr(gate, "COMPARED", 2)
    record = gated(Path(shutil.copytree(champion, tmp_path / "bundle")))
    assert record.compared is None
    assert all(row.reference_score is not None for row in record.rows)


def test_on_fewer_parts_the_drop_must_be_surely_small(updated: Path, tmp_path: Path):
    """A drop of 0.005 to 0.03 passes where all parts were compared, and not where some were."""
    card = read_card(updated)
    limits = card.export.gate.model_copy(update={"auroc_drop": 0.01})
    card = card.model_copy(update={"export": card.export.model_copy(update={"gate": limits})})
    record = gated(Path(shutil.copytree(updated, tmp_path / "bundle"))).model_copy(
        update={"auroc_drop": Interval(value=0.005, low=0, high=0.03)}
    )
    assert find_refusals(record.model_copy(update={"compared": None}), card) == ()
    (refusal,) = find_refusals(record.model_copy(update={"compared": 96}), card)
    assert refusal.startswith("image AUROC is 0.0050 [0.0000, 0.0300] below FP32, more than 0.01")


def test_a_bundle_without_its_bank_is_refused(champion: Path, whole: Path, tmp_path: Path):
    """One made before banks were kept can be neither traced nor updated."""
    copy = Path(shutil.copytree(champion, tmp_path / "old"))
    (copy / BANK).unlink()
    seal_bundle(copy)
    gated(copy)
    with pytest.raises(UpdateImpossible, match=r"keeps no bank; wanted a PatchCore .* train again"):
        update_bundle(copy, whole, OPEN, tmp_path / "bundle")
    with pytest.raises(UpdateImpossible, match="keeps no bank"):
        trace(copy)
    assert not (tmp_path / "bundle").exists()


def test_another_precision_is_refused(champion: Path, whole: Path, tmp_path: Path):
    """The backbone stays as it is, so it cannot become FP32."""
    config = OPEN.model_copy(update={"precision": "fp32"})
    with pytest.raises(
        UpdateImpossible, match=r"found fp32; the backbone of .* is int8 and stays so"
    ):
        update_bundle(champion, whole, config, tmp_path / "bundle")


def test_a_set_that_shares_no_picture_and_brings_none_is_refused(
    champion: Path, whole: Path, tmp_path: Path
):
    """A fit split of nothing has no bank."""
    with pytest.raises(DatasetError, match="split 'fit' is empty"):
        update_bundle(
            champion, without(whole, set(range(10)), tmp_path / "m.json"), OPEN, tmp_path / "out"
        )


def test_new_pictures_whose_cells_are_not_judged_fill_no_bank(
    champion: Path, whole: Path, tmp_path
):
    """All old pictures gone and nothing of the new ones judged: nothing to compare with."""
    data = read_manifest(whole)
    card = read_card(champion)
    geometry = card.geometry.model_copy(
        update={"exclude": (((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)),)}
    )
    copy = Path(shutil.copytree(champion, tmp_path / "blind"))
    blind = card.train.model_copy(update={"geometry": geometry})
    write_record(copy / "card.json", card.model_copy(update={"train": blind}))
    seal_bundle(copy)
    gated(copy)
    only_new = without(whole, set(range(10)) - {0, 4, 9}, tmp_path / "m.json")
    assert len(data.of(Split.FIT)) == 10
    with pytest.raises(UpdateImpossible, match="no vector is left in the bank; add good parts"):
        update_bundle(copy, only_new, OPEN, tmp_path / "bundle")


@pytest.mark.parametrize(
    ("split", "said"),
    [
        (Split.FIT, r"[1-9]\d* vectors of its bank and 0 parts that set its thresholds"),
        (Split.CALIBRATE, "0 vectors of its bank and 1 parts that set its thresholds"),
    ],
)
def test_new_guards_leave_bank_and_thresholds_as_they_are(
    champion: Path, tmp_path: Path, split: Split, said: str
):
    """What is forgotten, or shows a defect after all, has to leave them: that is a training."""
    data = read_manifest(champion / "manifest.json")
    held = {one.sha256 for one in trace(champion)}
    gone = next(
        one.sha256 for one in data.of(split) if split is Split.CALIBRATE or one.sha256 in held
    )
    entries = tuple(one for one in data.entries if one.sha256 != gone)
    write_record(tmp_path / "set.json", data.model_copy(update={"entries": entries}))
    with pytest.raises(UpdateImpossible, match=f"{said} .* ask for a retraining"):
        update_bundle(champion, tmp_path / "set.json", OPEN, tmp_path / "new", light_only=True)
    assert not (tmp_path / "new").exists()


def test_a_card_without_guards_limits_has_none_to_keep(champion: Path, tmp_path: Path):
    """One made before there were guards: they would learn focus, size and look as well."""
    copy = Path(shutil.copytree(champion, tmp_path / "old"))
    write_record(copy / "card.json", read_card(copy).model_copy(update={"guards": None}))
    seal_bundle(copy)
    gated(copy)
    with pytest.raises(UpdateImpossible, match="its card has no guards' limits"):
        update_bundle(copy, copy / "manifest.json", OPEN, tmp_path / "new", light_only=True)
