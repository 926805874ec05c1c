"""Decides whether a bundle may reach a line, on paired evidence against its FP32 reference.

The only code that decides on the test split. A refusal lists every limit that was missed.
"""

import os
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspection.bundles.bundle import read_card
from inspection.bundles.seal import GATE, verify_bundle, write_gate
from inspection.core.decision import decide, part_score, smooth
from inspection.core.errors import DatasetError, GateRefused
from inspection.core.gate import GateRecord, GateRow
from inspection.core.imaging import Map
from inspection.core.origin import describe_origin
from inspection.core.parts import HeldOut, load_part
from inspection.core.progress import follow
from inspection.core.records import Card, Interval, Label, Manifest, Split, read_manifest
from inspection.export.evidence import (
    Correlation,
    Evidence,
    PackedMask,
    gather,
    sum_up,
    time_graphs,
)
from inspection.metrics.image import (
    auroc_interval,
    false_reject_rate_at,
    paired_auroc_drop,
    recall_at,
    recall_by_defect,
)
from inspection.metrics.pixel import ImageCounts, PixelEvidence, score_edges

PACKAGES = ("numpy", "openvino", "opencv-python-headless")
SEED = 0  # of every bootstrap
COMPARED = 48  # good and as many defective parts, at least, on which an update is held to FP32


def gate_bundle(folder: Path, manifest_path: Path | None = None) -> GateRecord:
    """Put a bundle to its gate and write the signed record into it.

    Args:
        folder: the bundle.
        manifest_path: where the test images are described; none takes the bundle's own manifest.

    Returns:
        The record; `passed` says whether a station may open the bundle.

    Raises:
        BundleError: the bundle is damaged.
        DatasetError: the test images are gone or changed, or the bundle has learnt from one.
        GateRefused: a part has no score; an earlier record is taken away.
    """
    bundle_id = verify_bundle(folder)
    card = read_card(folder)
    own = read_manifest(folder / "manifest.json")
    manifest = own if manifest_path is None else read_manifest(manifest_path)
    parts = HeldOut(manifest)
    _require_unseen(own, parts)
    draft = _draft(folder, card, manifest, parts, _compared(card, parts))
    if draft.compared is not None and find_refusals(draft, card):
        # what a few parts leave open all of them decide
        draft = _draft(folder, card, manifest, parts, frozenset(range(len(parts))))
    refusals = find_refusals(draft, card)
    record = draft.model_copy(
        update={"bundle_id": bundle_id, "refusals": refusals, "passed": not refusals}
    )
    write_gate(folder, record)
    return record


def _draft(
    folder: Path, card: Card, manifest: Manifest, parts: HeldOut, compared: Collection[int]
) -> GateRecord:
    """Measure a bundle on its parts, and against its reference on those compared."""
    evidence = gather(folder, card, parts, compared)
    _require_scores(folder, evidence, card)
    if len(compared) == len(parts):
        sample = load_part(manifest, parts.goods[0])
        shipped_ms, reference_ms = time_graphs(folder, sample, card.geometry)
    else:  # the same graphs with other constants: what the parts took says it as well
        shipped_ms, reference_ms = (sum_up(times) for times in evidence.times_ms)
    return GateRecord(
        bundle_id="",
        passed=False,
        refusals=(),
        evidence="generated defects" if parts.generated else "test defects",
        goods=parts.goods_split,
        test_manifest_sha256=manifest.sha256,
        compared=None if len(compared) == len(parts) else len(compared),
        feature_correlations={name: c.value for name, c in evidence.features.items()},
        map_correlation=evidence.map_correlation.value,
        latency=shipped_ms,
        reference_latency=reference_ms,
        origin=describe_origin(PACKAGES),
        **_image_numbers(evidence, card, new_goods=parts.goods_split is Split.TEST),
        **_pixel_numbers(evidence, card),
    )


def _compared(card: Card, parts: HeldOut) -> frozenset[int]:
    """Choose the parts on which the FP32 reference is asked, evenly, so of every kind."""
    numbers = range(len(parts))
    if card.updated_from is None:
        return frozenset(numbers)
    kinds = numbers[: len(parts.goods)], numbers[len(parts.goods) :]
    return frozenset(n for kind in kinds for n in kind[:: max(1, len(kind) // COMPARED)])


def _require_unseen(own: Manifest, parts: HeldOut) -> None:
    """Refuse parts the bundle was made from: it would know them by heart.

    Its own calibrate normals may stand in for good test parts, and be nothing else.
    """
    learnt_from = {Split.FIT: set[str](), Split.CALIBRATE: set[str](), Split.TEST: set[str]()}
    for entry in own.entries:
        learnt_from[entry.split].add(entry.sha256)
    known = [
        entry
        for entry in (*parts.goods, *parts.real_defects)
        if entry.sha256 in learnt_from[Split.FIT]
        or (entry.split is Split.TEST and entry.sha256 in learnt_from[Split.CALIBRATE])
    ]
    if known:
        raise DatasetError(
            f"{known[0].path}: {len(known)} of the parts to judge are images the bundle was "
            "fitted or calibrated on; wanted none; name a manifest of other images"
        )


def _image_numbers(evidence: Evidence, card: Card, *, new_goods: bool) -> dict[str, Any]:
    scores, reference = _both_scores(evidence, card)
    compared = ~np.isnan(reference)
    rows = tuple(
        GateRow(
            path=path,
            label=label,
            defect=defect,
            score=float(score),
            reference_score=None if np.isnan(reference_score) else float(reference_score),
            verdict=decide(score, card.band, card.score_floor),
        )
        for path, label, defect, score, reference_score in zip(
            evidence.paths, evidence.labels, evidence.defects, scores, reference, strict=True
        )
    )
    good = np.array([label is Label.GOOD for label in evidence.labels])
    threshold = card.band.review_above
    kinds = [row.defect or "defect" for row in rows if row.label is Label.DEFECT]
    pair = (scores[good], scores[~good])
    shipped_pair, reference_pair = (
        (values[compared & good], values[compared & ~good]) for values in (scores, reference)
    )
    return {
        "score_correlation": _correlation(scores[compared], reference[compared]),
        "verdict_flips": sum(
            row.reference_score is not None
            and row.verdict != decide(row.reference_score, card.band)
            for row in rows
        ),
        "auroc": auroc_interval(*pair, seed=SEED),
        "reference_auroc": auroc_interval(*reference_pair, seed=SEED),
        "auroc_drop": paired_auroc_drop(reference=reference_pair, shipped=shipped_pair, seed=SEED),
        "recall": recall_at(scores[~good], threshold),
        "recall_by_defect": recall_by_defect(scores[~good], kinds, threshold),
        # parts that set the threshold cannot test it
        "false_reject_rate": false_reject_rate_at(scores[good], threshold) if new_goods else None,
        "rows": rows,
    }


def _require_scores(folder: Path, evidence: Evidence, card: Card) -> None:
    """Refuse a bundle that cannot judge a part; no record can hold such a score."""
    scores, reference = _both_scores(evidence, card)
    compared = np.isin(np.arange(scores.size), list(evidence.reference_maps))
    broken = int((~np.isfinite(scores) | (compared & ~np.isfinite(reference))).sum())
    if broken:
        (folder / GATE).unlink(missing_ok=True)
        raise GateRefused(
            f"{card.name}: {broken} of {scores.size} test parts have no finite score; "
            "train again, with weights that fit the model"
        )


def _both_scores(evidence: Evidence, card: Card) -> tuple[NDArray[np.float64], ...]:
    """Score every map; the reference's score is NaN where it was not asked."""
    scores = _scores(evidence.maps, card)
    reference = np.full(scores.size, np.nan)
    numbers = list(evidence.reference_maps)
    reference[numbers] = _scores(evidence.reference_maps.values(), card)
    return scores, reference


def _scores(maps: Iterable[Map], card: Card) -> NDArray[np.float64]:
    return np.array([part_score(score_map, card.score, card.geometry) for score_map in maps])


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    correlation = Correlation()
    correlation.add(first, second)
    return correlation.value


def _pixel_numbers(evidence: Evidence, card: Card) -> dict[str, Interval | None]:
    """AUPRO and pixel AUROC of the smoothed maps; none unless some defect has a mask."""
    masked = [
        number
        for number, (mask, label) in enumerate(zip(evidence.masks, evidence.labels, strict=True))
        if mask is not None and (label is Label.GOOD or mask.unpack().any())
    ]
    if not any(evidence.labels[number] is Label.DEFECT for number in masked):
        return {"aupro": None, "pixel_auroc": None, "reference_aupro": None}
    shipped = _pixel_evidence(evidence.maps, evidence, masked, card)
    numbers = {"aupro": shipped.aupro(SEED), "pixel_auroc": shipped.auroc(SEED)}
    if len(evidence.reference_maps) < len(evidence.maps):
        return {**numbers, "reference_aupro": None}
    reference = _pixel_evidence(evidence.reference_maps, evidence, masked, card)
    return {**numbers, "reference_aupro": reference.aupro(SEED)}


def _pixel_evidence(
    maps: list[Map] | dict[int, Map], evidence: Evidence, masked: list[int], card: Card
) -> PixelEvidence:
    smoothed = {number: smooth(maps[number], card.score) for number in masked}
    pixels = PixelEvidence(score_edges(list(smoothed.values())))

    def count(score_map: Map, mask: PackedMask) -> ImageCounts:
        return pixels.count(score_map, mask.unpack(), card.geometry.map_shift)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy lets go of the lock meanwhile
        pending = [
            pool.submit(count, smoothed[number], mask)
            for number in masked
            if (mask := evidence.masks[number]) is not None
        ]
        pixels.images += [one.result() for one in follow(pending, "pixels")]
    return pixels


def find_refusals(record: GateRecord, card: Card) -> tuple[str, ...]:
    """List every limit of the card's gate that a record misses, with the numbers."""
    limits = card.export.gate
    said = " on generated defects" * (record.evidence == "generated defects")
    refusals = [
        f"feature map {name} correlates with FP32 by {value:.4f}, below "
        f"{limits.feature_correlation}"
        for name, value in sorted(record.feature_correlations.items())
        if value < limits.feature_correlation
    ]
    least = limits.least_map_correlation(estimated=card.estimated)
    if record.map_correlation < least:
        refusals.append(
            f"score maps correlate with FP32 by {record.map_correlation:.4f}, below {least}{said}"
        )
    if record.score_correlation < limits.score_correlation:
        refusals.append(
            f"scores correlate with FP32 by {record.score_correlation:.4f}, "
            f"below {limits.score_correlation}{said}"
        )
    if record.judged_drop > limits.auroc_drop:
        chance = record.auroc_drop.low <= limits.auroc_drop
        refusals.append(
            f"image AUROC is {record.auroc_drop} below FP32, more than {limits.auroc_drop}{said}"
            + "; may be chance: test on more parts" * chance
        )
    if record.auroc.value < limits.auroc_least:
        refusals.append(f"image AUROC is {record.auroc}, below {limits.auroc_least}{said}")
    rate, promised = record.false_reject_rate, card.certificate and card.certificate.target
    if rate is not None and promised and rate.low > limits.false_reject_factor * promised:
        refusals.append(
            f"false-reject rate on test is {rate}, surely above "
            f"{limits.false_reject_factor:g} times the promised {promised:g}"
        )
    return tuple(refusals)
