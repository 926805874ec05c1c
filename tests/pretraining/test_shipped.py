"""The weights that come with the package: whole, small, described, and the default."""

import re
import tomllib
from pathlib import Path

import pytest

from inspection.bench.frame import BenchReport
from inspection.core.records import hash_file, read_record
from inspection.core.settings import BackboneConfig
from inspection.core.shipped import BACKBONE, SEGMENTER
from inspection.masks.opening import SHIPPED, open_segmenter, read_card
from inspection.pretraining.modelcard import CARD, LICENCE, MadeRecord
from inspection.pretraining.shipping import RECORD, WeightsRecord
from inspection.pretraining.shipping_segmenter import SegmenterRecord
from inspection.training.weights import FOLDER_VARIABLE, find_weights

pytestmark = pytest.mark.fast

EVIDENCE = Path(__file__).parents[2] / "reports/bench/weights.json"
MOST_BYTES = 20_000_000  # of all that ships
MOST_BACKBONE_BYTES, MOST_SEGMENTER_BYTES = 8_000_000, 10_000_000
ALL = pytest.mark.parametrize(
    ("folder", "kind"),
    [(BACKBONE, WeightsRecord), (SEGMENTER, SegmenterRecord)],
    ids=["backbone", "segmenter"],
)


def test_the_default_backbone_ships(monkeypatch: pytest.MonkeyPatch):
    """With nothing named anywhere, and no network asked."""
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    found = find_weights(BackboneConfig().name, None)
    assert found is not None
    path, source = found
    assert (path.parent, source) == (BACKBONE, "shipped")
    assert path.stat().st_size <= MOST_BACKBONE_BYTES


def test_the_default_segmenter_ships():
    """In INT8, of the very weights that lie beside it."""
    segmenter, card = open_segmenter(None), read_card(SHIPPED)
    record = read_record(SEGMENTER / RECORD, SegmenterRecord)
    assert (card.precision, card.weights.sha256) == ("int8", record.sha256)
    assert f"(shipped, {record.sha256[:12]})" in segmenter.name
    assert (SEGMENTER / record.file).stat().st_size <= MOST_SEGMENTER_BYTES


@ALL
def test_they_have_their_record_and_card(folder: Path, kind: type[MadeRecord]):
    """Whoever asks how they were made finds it beside them, of these very bytes."""
    record, card = read_record(folder / RECORD, kind), (folder / CARD).read_text()
    assert hash_file(folder / record.file) == record.sha256
    for told in (record.sha256, LICENCE, "## Measured", "## Known limits", "formulas alone"):
        assert told in card
    assert "Not yet" not in card


def test_an_install_brings_every_file():
    """What pyproject names as data of the package is all that lies there."""
    package = BACKBONE.parents[1]
    named = tomllib.loads((package.parent / "pyproject.toml").read_text())
    patterns = named["tool"]["setuptools"]["package-data"]["inspection"]
    brought = {path for pattern in patterns for path in package.glob(pattern) if path.is_file()}
    assert {path for path in BACKBONE.parent.rglob("*") if path.is_file()} <= brought


@pytest.mark.parametrize("folder", [BACKBONE, SEGMENTER], ids=["backbone", "segmenter"])
def test_their_cards_quote_the_evidence(folder: Path):
    """Every number of `Measured` stands in the bench's report."""
    report = read_record(EVIDENCE, BenchReport)
    cells = [cell for table in report.tables for row in table.rows for cell in row]
    known = {f"{cell:.3f}" for cell in cells if isinstance(cell, float)}
    known |= {f"{ratio.median:.2f}" for race in report.races for ratio in race.ratios}
    measured = (folder / CARD).read_text().split("## Measured")[1].split("## Known")[0]
    quoted = re.findall(r"\d\.\d{2,3}", measured)
    assert quoted
    assert set(quoted) <= known


def test_all_that_ships_is_small():
    files = [path for path in BACKBONE.parent.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
