from pathlib import Path

import pytest

from inspection.bench.redness import gate_of
from inspection.bench.retraining.update import Made, difference, draw_new, judge, most_traced
from inspection.core.decision import Verdict
from inspection.core.errors import InspectionError
from inspection.core.gate import GateRecord, GateRow
from inspection.core.records import Label, Split, read_manifest
from inspection.export.bank import Traced
from tests.bench.libraries import quiet
from tests.training.tiny import write_manifest

pytestmark = quiet


def gate(good: list[float], defect: list[float]) -> GateRecord:
    """Make the record of a gate that gave these scores."""
    labels = [Label.GOOD] * len(good) + [Label.DEFECT] * len(defect)
    rows = tuple(
        GateRow(
            path=f"{number}.png",
            label=label,
            defect=None,
            score=score,
            reference_score=None,
            verdict=Verdict.PASS,
        )
        for number, (label, score) in enumerate(zip(labels, [*good, *defect], strict=True))
    )
    return gate_of("b" * 64).model_copy(update={"rows": rows})


def made(record: GateRecord, total_s: float, **steps_s: float) -> Made:
    """Make a bundle's gate and times."""
    return Made(Path("bundle"), record, total_s, steps_s)


def test_an_update_is_held_against_the_whole_way_and_without_gates():
    """AUROC 1 against 0.875; 100 s over 8 s; 80 s of train and export over 4 s."""
    full = made(gate([0, 1], [2, 3, 4, 5]), 100, train=60, export=20, gate=15)
    updated = made(gate([0, 3], [2, 3.5, 4, 5]), 8, update=4, gate=3)
    away, whole, alone = judge("case", full, updated)
    assert (away.found, away.reached) == (0.125, False)
    assert (whole.found, whole.reached) == (12.5, True)
    assert alone.found == 20


def test_bundles_judged_on_other_parts_are_not_compared():
    """Paired means the same parts."""
    with pytest.raises(InspectionError, match="gated on the same parts; use one test split"):
        difference(gate([0, 1], [2]), gate([0], [2]))


def test_new_pictures_are_drawn_from_fit_alone_and_always_the_same(tmp_path: Path):
    """Three of six, whoever asks."""
    manifest = read_manifest(write_manifest(tmp_path))
    drawn = draw_new(manifest, 3)
    assert drawn < {entry.sha256 for entry in manifest.of(Split.FIT)}
    assert len(drawn) == 3
    assert drawn == draw_new(manifest, 3)


def test_the_picture_that_taught_most_is_forgotten():
    """Two vectors of b, one of a."""
    assert most_traced([Traced("b", 0, 1), Traced("a", 0, 2), Traced("b", 0, 3)]) == "b"
