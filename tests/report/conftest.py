"""Facts of a made-up bundle, built by hand from records; nothing is read or measured."""

from datetime import UTC, datetime

import numpy as np
import pytest

from inspection.core.decision import Band, ScoreRule, decide
from inspection.core.gate import GateRecord, GateRow, Latency
from inspection.core.geometry import Geometry
from inspection.core.records import Card, Certificate, Interval, Label, Origin, Weights
from inspection.core.settings import ExportConfig
from inspection.metrics import image
from inspection.metrics.calibration import conformal_threshold
from inspection.report.edge import Edge
from inspection.report.facts import Case, Cases, ReportFacts
from inspection.report.robustness import Robustness, RobustnessRow

WHEN = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
ORIGIN = Origin(
    created_at=WHEN,
    git_revision="0123abcd",
    machine="Some Processor, 2 cores",
    versions={"openvino": "2026.4.1", "inspection": "0.1.0"},
)
KINDS = ("blowhole", "break", "crack", "fray", "uneven")


def make_card(source="file", seed=0):
    """A card calibrated on 190 made-up normals."""
    scores = np.sort(np.random.default_rng(seed).normal(2.0, 0.25, 190))
    threshold, certificate = conformal_threshold(scores, 0.02)
    return Card(
        name="magnetic tile",
        run_sha256="a1" * 32,
        manifest_sha256="b2" * 32,
        model="Patchcore on mobilenetv2_100",
        precision="backbone INT8, distances FP32",
        graph_note="Two layers stay FP32: feature correlation 0.991 instead of 0.94.",
        geometry=Geometry(),
        score=ScoreRule(),
        band=Band(review_above=threshold, reject_above=float(scores[-1]) + 0.15),
        certificate=Certificate.model_validate(certificate.model_dump()),
        calibrate_scores=tuple(scores.tolist()),
        weights=(Weights(name="mobilenetv2_100", source=source, sha256="c3" * 32),),
        origin=ORIGIN,
        export=ExportConfig(),
        golden=("golden_0.png",),
    )


def make_rows(band, seed=1, good=190, defect=150):
    """Rows of a gate: good parts like calibrate, defects of five kinds, the fifth faint."""
    rng = np.random.default_rng(seed)
    labelled = [(Label.GOOD, None, rng.normal(2.0, 0.25)) for _ in range(good)]
    for index in range(defect):
        kind = KINDS[index % len(KINDS)]
        labelled.append((Label.DEFECT, kind, rng.normal(2.6 if kind == "fray" else 4.2, 0.6)))
    return tuple(
        GateRow(
            path=f"test/{kind or 'good'}/{index:03d}.png",
            label=label,
            defect=kind,
            score=float(score),
            reference_score=float(score + rng.normal(0, 0.06)),
            verdict=decide(float(score), band),
        )
        for index, (label, kind, score) in enumerate(labelled)
    )


def make_gate(card, refusals=(), evidence="test defects"):
    """A gate's record whose numbers follow from its rows."""
    rows = make_rows(card.band)
    good = [row.score for row in rows if row.label is Label.GOOD]
    defect = [row.score for row in rows if row.label is Label.DEFECT]
    kinds = [row.defect for row in rows if row.label is Label.DEFECT]
    above = card.band.review_above
    return GateRecord(
        bundle_id="d4" * 32,
        passed=not refusals,
        refusals=refusals,
        evidence=evidence,
        goods="test",
        test_manifest_sha256=card.manifest_sha256,
        feature_correlations={"blocks.2": 0.99812, "blocks.4": 0.99456},
        map_correlation=0.99123,
        score_correlation=0.98765,
        verdict_flips=7,
        auroc=image.auroc_interval(good, defect, 0),
        reference_auroc=Interval(value=0.9731, low=0.9612, high=0.9834),
        auroc_drop=Interval(value=0.0012, low=-0.0007, high=0.0031),
        aupro=Interval(value=0.8123, low=0.7901, high=0.8345),
        pixel_auroc=Interval(value=0.9345, low=0.9234, high=0.9456),
        recall=image.recall_at(defect, above),
        recall_by_defect=image.recall_by_defect(defect, kinds, above),
        false_reject_rate=image.false_reject_rate_at(good, above),
        latency=Latency(p50_ms=2.81, p95_ms=3.12, p99_ms=3.97),
        reference_latency=Latency(p50_ms=6.04, p95_ms=6.42, p99_ms=7.77),
        origin=ORIGIN,
        rows=rows,
    )


def make_case(label, defect, score, band, seed):
    """A textured 90×140 part with its made-up heatmap."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(80, 160, (90, 140, 3)).astype(np.uint8)
    heat = np.roll(picture, 60, axis=2)
    path = f"test/{defect or 'good'}/{seed:03d}.png"
    return Case(path, label, defect, score, decide(score, band), picture, heat)


EDGE = Edge(
    machine="Some Processor, 2 cores",
    parts=200,
    open_s=0.41,
    p50_ms=2.93,
    p95_ms=3.33,
    p99_ms=4.44,
    parts_per_s=337.0,
    peak_ram_mib=183.0,
    cpu_ms_per_part=5.1,
    cores_used=1.74,
    energy_mj_per_part=None,
)


def make_robustness():
    """Three disturbances; the last spoils everything."""
    good = image.proportion_interval
    return Robustness(
        good=40,
        defect=40,
        rows=(
            RobustnessRow(
                "as taken", image.auroc_interval([1, 2, 3], [2.5, 4], 0), good(1, 40), good(36, 40)
            ),
            RobustnessRow(
                "exposure −30 %",
                image.auroc_interval([1, 2, 3], [2.2, 4], 0),
                good(2, 40),
                good(35, 40),
            ),
            RobustnessRow(
                "rotation 3°", Interval(value=0.5, low=0.4, high=0.6), good(30, 40), good(4, 40)
            ),
        ),
    )


def make_facts(source="file", gated=True, refusals=(), evidence="test defects", **changes):
    """Facts of a whole page."""
    card = make_card(source)
    band = card.band
    hard = tuple(make_case(Label.DEFECT, "fray", 1.7 + 0.1 * i, band, i) for i in range(6))
    good = tuple(make_case(Label.GOOD, None, 2.8 - 0.1 * i, band, 10 + i) for i in range(6))
    clear = tuple(make_case(Label.DEFECT, "break", 5.9 - 0.1 * i, band, 20 + i) for i in range(3))
    fields = {
        "bundle_id": "d4" * 32,
        "card": card,
        "gate": make_gate(card, refusals, evidence) if gated else None,
        "size_bytes": 5 * 2**20,
        "made_at": WHEN,
        "cases": Cases(hard, good, clear),
        "edge": EDGE,
        "robustness": make_robustness(),
    }
    return ReportFacts(**{**fields, **changes})


@pytest.fixture(scope="session", name="make_facts")
def provide_make_facts():
    """The maker of facts of a whole page."""
    return make_facts


@pytest.fixture(scope="session", name="make_card")
def provide_make_card():
    """The maker of a bundle's card."""
    return make_card


@pytest.fixture(scope="session", name="make_gate")
def provide_make_gate():
    """The maker of a gate's record."""
    return make_gate
