"""Turns results into the text a person reads on a terminal, or the JSON a machine reads.

Plain aligned columns: they survive a pipe, a log file and a copied mail.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import to_jsonable_python

from inspection.core.gate import GateRecord
from inspection.core.records import Card, Interval, Label, Manifest, RunRecord, Split

if TYPE_CHECKING:  # each command imports its own stage; tables only name what they print
    from inspection.bundles.bundle import Bundle, Golden
    from inspection.bundles.judging import JudgedFile
    from inspection.bundles.store import Listed
    from inspection.data.check import DatasetReport
    from inspection.data.fetch import Source
    from inspection.data.findings import Finding
    from inspection.demo import Outcome
    from inspection.portability.exporting import OnnxCard


def json_text(result: object) -> str:
    """Give a result as ASCII JSON: records, dataclasses, paths of any name, their collections."""
    return json.dumps(to_jsonable_python(result, inf_nan_mode="null"), indent=1)


def aligned(rows: Iterable[Sequence[object]]) -> str:
    """Set rows of cells under each other, two blanks apart, the last column as it is."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*texts, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in texts
    )
    return "\n".join(line.rstrip() for line in lines)


def report_text(report: "DatasetReport") -> str:
    """Say what was found in a data set and how it is divided; zeros too."""
    blocks = [
        _findings("problem", report.problems),
        _findings("note", report.notes),
        manifest_text(report.manifest),
        f"{len(report.problems)} problems, {len(report.notes)} notes: "
        + ("sound" if report.sound else "UNSOUND"),
    ]
    return "\n\n".join(block for block in blocks if block)


def _findings(name: str, findings: "Sequence[Finding]") -> str:
    return aligned((name, finding.kind, finding.message) for finding in findings)


def manifest_text(manifest: Manifest) -> str:
    """Say how many images stand in each split, and of what."""
    counts = Counter((entry.split, entry.label) for entry in manifest.entries)
    rows: list[Sequence[object]] = [("split", "good", "defect")]
    rows += [(split, counts[split, Label.GOOD], counts[split, Label.DEFECT]) for split in Split]
    kinds = Counter(entry.defect for entry in manifest.entries if entry.defect)
    named = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())) or "none"
    return (
        f"{aligned(rows)}\ndefects: {named}\n"
        f"layout {manifest.layout}, root {manifest.root}, manifest {manifest.sha256[:12]}"
    )


def source_text(source: "Source", category: str, out: Path) -> str:
    """Say what would be fetched, under which licence, and to where."""
    rows = [
        ("data set", f"{source.title}, category {category}"),
        ("homepage", source.homepage),
        ("licence", source.licence),
        ("archive", source.host + source.path),
        ("to", out / category),
    ]
    return f"{aligned(rows)}\ncheck it afterwards with: inspection dataset check {out / category}"


def run_text(record: RunRecord, out: Path) -> str:
    """Say what was fitted."""
    rows = [
        ("run", out),
        ("model", record.config.model),
        *(("weights", weights) for weights in record.weights),
        ("manifest", record.manifest_sha256[:12]),
        ("fitted in", f"{record.duration_s:.1f} s"),
    ]
    return aligned(rows)


def card_text(card: Card) -> str:
    """Say what a bundle is and what it promises."""
    geometry = card.geometry
    rows = [
        ("model", f"{card.model}, {card.precision}"),
        *(("weights", weights) for weights in card.weights),
        ("input", f"{geometry.height_px}×{geometry.width_px} px, {geometry.tiles} tiles per part"),
        ("review above", f"{card.band.review_above:.6g}"),
        ("reject above", f"{card.band.reject_above:.6g}"),
        ("false rejects", _promised(card)),
        ("guards", card.guards or "none: made before there were any; export again"),
        ("made", f"{card.origin.created_at:%Y-%m-%d %H:%M} UTC, git {card.origin.git_revision}"),
    ]
    return aligned(rows)


def _promised(card: Card) -> str:
    sure = card.certificate
    if sure is None:
        return (
            f"NONE PROMISED: threshold guessed from {len(card.calibrate_scores)} good parts; it "
            "rejects nothing, what scores above them all is REVIEW"
        )
    return (
        f"promised {sure.target:g}; from {sure.normals} normals {sure.mean:.4f} on average, "
        f"with 95 % confidence below {sure.bound95:.4f}"
    )


def _false_rejects(gate: GateRecord) -> str:
    return str(gate.false_reject_rate or "not measured: the test split has no good part")


def onnx_text(card: "OnnxCard") -> str:
    """Say what an ONNX model is, and how well ONNX Runtime agrees with the bundle."""
    parity, ports = card.parity, (("takes", card.inputs), ("gives", card.outputs))
    rows = [
        ("bundle", f"{card.bundle_name} ({card.bundle_id[:12]}), {card.graph}"),
        ("model", f"{card.model}, {card.precision}"),
        *(("weights", weights) for weights in card.weights),
        *(
            (word, f"{port.name}: {port.dtype} {'×'.join(map(str, port.shape))}")
            for word, given in ports
            for port in given
        ),
        ("onnx", f"opset {card.opset}, sha256 {card.sha256[:12]}"),
        (
            "parity",
            f"{parity.pictures} pictures ({parity.generated} with generated defects), by ONNX "
            f"Runtime and the {parity.compared_with}",
        ),
        (
            "maps",
            f"{parity.mean_map_difference:.2g} apart on average, at most "
            f"{parity.largest_map_difference:.2g}, of the largest value",
        ),
        (
            "scores",
            f"{parity.mean_score_difference:.2g} apart on average, at most "
            f"{parity.largest_score_difference:.2g}",
        ),
        (
            "verdicts",
            f"{parity.verdicts_agree} of {parity.pictures} alike"
            + "".join(f", not {name}, near a threshold" for name in parity.near_a_threshold),
        ),
        ("as shipped", f"{parity.verdicts_as_bundle} of {parity.pictures} as the bundle decides"),
    ]
    return aligned(rows)


def gate_text(gate: GateRecord | None) -> str:
    """Say what the gate found, and its answer."""
    if gate is None:
        return "gate           not asked yet; run inspection gate"
    of = ", generated" * (gate.evidence == "generated defects")
    rows: list[tuple[str, object]] = [
        ("gate", "passed" if gate.passed else "REFUSED"),
        ("evidence", f"{len(gate.rows)} parts, {gate.evidence}, good parts of {gate.goods}"),
        (f"image AUROC{of}", f"{gate.auroc}, FP32 {gate.reference_auroc}"),
        (f"AUROC drop{of}", f"{gate.auroc_drop}{_compared(gate)}"),
        (f"AUPRO{of}", _or_none(gate.aupro)),
        (f"pixel AUROC{of}", _or_none(gate.pixel_auroc)),
        (f"recall{of}", gate.recall),
        *((f"  {kind}", value) for kind, value in sorted(gate.recall_by_defect.items())),
        ("false rejects", _false_rejects(gate)),
        ("score corr.", f"{gate.score_correlation:.5f}, maps {gate.map_correlation:.5f}"),
        *((f"  {name}", f"{value:.5f}") for name, value in gate.feature_correlations.items()),
        ("verdict flips", f"{gate.verdict_flips} of {gate.compared or len(gate.rows)}"),
        (
            "latency",
            f"p50 {gate.latency.p50_ms:.2f} ms, p95 {gate.latency.p95_ms:.2f} ms; "
            f"FP32 {gate.reference_latency.p50_ms:.2f} ms",
        ),
        *(("refused", reason) for reason in gate.refusals),
    ]
    return aligned(rows)


def _compared(gate: GateRecord) -> str:
    return f", FP32 asked on {gate.compared} parts" if gate.compared else ""


def _or_none(value: Interval | None) -> str:
    return "not measured: no masks" if value is None else str(value)


def bundle_text(bundle: "Bundle", taught: Mapping[str, int]) -> str:
    """Say everything a bundle knows of itself, and how many vectors some pictures gave its bank."""
    rows = [("bundle", bundle.card.name), ("id", bundle.bundle_id)]
    if taught:
        most = ", ".join(f"{sha256[:12]} ({count})" for sha256, count in taught.items())
        rows.append(("taught most by", f"pictures {most}, vectors in brackets"))
    head = aligned(rows)
    return f"{head}\n{card_text(bundle.card)}\n{gate_text(bundle.gate)}"


def golden_text(bundle: "Bundle", results: "Sequence[Golden]") -> str:
    """Say whether this CPU computes the expected maps."""
    rows = [
        (
            f"golden {golden.name}",
            "reproduced" if golden.reproduced else "NOT REPRODUCED on this CPU",
            f"largest difference {golden.difference:.2e} of the maximum",
        )
        for golden in results
    ]
    return f"{bundle.bundle_id}  every byte as it was signed\n{aligned(rows)}"


def listed_text(bundles: "Sequence[Listed]") -> str:
    """Say which bundles a folder holds and how they stand."""
    rows = [(listed.path, listed.bundle_id[:12] or "-", listed.state) for listed in bundles]
    return "\n".join(filter(None, (aligned(rows), f"{len(rows)} bundles")))


def judged_text(bundle: "Bundle", judged: "Sequence[JudgedFile]") -> str:
    """Say who judged, the verdict of each file with its regions, and the count of each verdict."""
    rows = [("verdict", "score", "file", "suspicious regions (x0 y0 x1 y1 px), or why not judged")]
    rows += [
        (
            str(one.verdict),
            "-" if one.score is None else f"{one.score:.4g}",
            str(one.path),
            one.reason or " · ".join(" ".join(map(str, r.xyxy_px)) for r in one.regions) or "none",
        )
        for one in judged
    ]
    counts = Counter(one.verdict.value for one in judged)
    totals = ", ".join(f"{counts[word]} {word}" for word in ("PASS", "REVIEW", "REJECT", "FAULT"))
    weights = aligned(("weights", weights) for weights in bundle.card.weights)
    judge = f"bundle   {bundle.card.name} {bundle.bundle_id[:12]}"
    return "\n".join(filter(None, (judge, weights, aligned(rows), totals)))


PLANT = "hub, station, dashboard; inspection plant open shows them, inspection plant stop ends them"


def outcome_text(outcome: "Outcome") -> str:
    """Say how the demonstration went and where to look."""
    gate = outcome.gate
    rows: list[tuple[str, object]] = [
        ("gate", "passed" if outcome.passed else "REFUSED: " + "; ".join(gate.refusals)),
        ("weights", " · ".join(map(str, outcome.weights))),
        ("image AUROC", gate.auroc),
        ("recall", gate.recall),
        ("false rejects", f"{_false_rejects(gate)}, promised {outcome.promised:g}"),
        (
            "latency",
            f"p50 {gate.latency.p50_ms:.2f} ms INT8, {gate.reference_latency.p50_ms:.2f} ms FP32",
        ),
        ("judged", ", ".join(f"{count} {word}" for word, count in outcome.verdicts.items())),
        ("took", f"{outcome.duration_s:.0f} s"),
        ("report", outcome.report),
        ("overlays", outcome.overlays or "none: a refused bundle judges nothing"),
        ("events", outcome.events or "none: a refused bundle judges nothing"),
        ("running", PLANT if outcome.plant else "nothing: a refused bundle judges nothing"),
    ]
    return aligned(rows)
