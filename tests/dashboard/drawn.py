"""Events, looks and pictures as the hub answers them, for the fake hub of page tests."""

import base64
import io
from datetime import UTC, datetime

from PIL import Image, ImageDraw

from inspection.core.decision import Band, ScoreRule, Verdict
from inspection.core.gate import GateRecord, Latency
from inspection.core.geometry import Geometry, Roi
from inspection.core.known import Named, Recognised, Status
from inspection.core.records import Card, Certificate, Event, FrameRecord, Interval, Origin
from inspection.core.settings import ExportConfig
from inspection.hub.wire.line import EventDetail, EventRow, Picture
from inspection.hub.wire.models import BundleRow
from inspection.hub.wire.recognition import TypeCount, TypeCounts, TypeTime
from inspection.hub.wire.review import Decision, Look, QueueItem, Review, Why

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
BUNDLE = "b" * 64
BAND = Band(review_above=2.0, reject_above=4.0)
SIZE_WH = (320, 240)


def jpeg(scratched: bool = True, size_wh: tuple[int, int] = SIZE_WH) -> bytes:
    """A grey part, with a scratch or without."""
    image = Image.new("RGB", size_wh, (150, 152, 150))
    pen = ImageDraw.Draw(image)
    width, height = size_wh
    pen.ellipse((width // 8, height // 8, width - width // 8, height - height // 8), "#777")
    if scratched:
        pen.line((width * 0.4, height * 0.4, width * 0.6, height * 0.5), "#eee", 3)
    stream = io.BytesIO()
    image.save(stream, "JPEG")
    return stream.getvalue()


def grey(box: tuple[int, int, int, int], level: int = 255, size_wh=SIZE_WH) -> str:
    """A base64 PNG that is black but for a box."""
    image = Image.new("L", size_wh)
    ImageDraw.Draw(image).rectangle(box, level)
    return base64_png(image)


def base64_png(image: Image.Image) -> str:
    """A picture as the hub puts it into JSON."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def row(number: int, verdict: Verdict = Verdict.REVIEW, score: float = 3.0, **more) -> EventRow:
    """One event as lists show it."""
    values = {
        "event_id": f"event-{number}",
        "line": "line-1",
        "station": "station-1",
        "product": "plate",
        "part_id": f"part-{number}",
        "camera": "top",
        "verdict": verdict,
        "score": score,
        "review_above": BAND.review_above,
        "reject_above": BAND.reject_above,
        "bundle_id": BUNDLE,
        "captured_at": AT,
        "received_at": AT,
        "latency_ms": 12.0,
        "picture": "top.jpg",
        "decision": None,
    }
    return EventRow.model_validate(values | more)


def detail(number: int, *, picture: bool = True, reviews: tuple[Review, ...] = ()) -> EventDetail:
    """All of one event of one camera."""
    frame = FrameRecord(
        camera="top",
        source="folder/top.jpg",
        source_sha256="0" * 64,
        bundle_id=BUNDLE,
        band=BAND,
        verdict=Verdict.REVIEW,
        score=3.0,
        reason="",
        image="top.jpg",
    )
    event = Event(
        event_id=f"event-{number}",
        sequence=number,
        part_id=f"part-{number}",
        product="plate",
        line="line-1",
        station="station-1",
        verdict=Verdict.REVIEW,
        reason="",
        frames=(frame,),
        captured_at=AT,
        judged_at=AT,
        latency_ms=12.0,
    )
    stored = Picture(
        name="top.jpg",
        kind="image/jpeg",
        bytes=4000,
        height_px=2 * SIZE_WH[1],
        width_px=2 * SIZE_WH[0],
    )
    return EventDetail(event=event, row=row(number), pictures=(stored,) * picture, reviews=reviews)


def named(
    number: int, *found: tuple[str, float], status: Status = "done", roi: Roi | None = None
) -> EventDetail:
    """The same, with what a second stage named: boxes of 40×20 px, the first with a mask."""
    shown = detail(number)
    objects = tuple(
        Named(
            type=type_,
            score=score,
            box=(60 * i, 30 * i, 60 * i + 40, 30 * i + 20),
            area_px=500,
            mask=None if i else grey((10, 5, 30, 15), size_wh=(40, 20)),
        )
        for i, (type_, score) in enumerate(found)
    )
    recognised = Recognised(
        detector="cells",
        detector_id="d" * 64,
        status=status,
        reason="" if status == "done" else "no answer",
        latency_ms=9.0,
        counts={type_: sum(one == type_ for one, _ in found) for type_, _ in found},
        found=objects,
    )
    (frame,) = shown.event.frames
    frame = frame.model_copy(update={"recognised": recognised, "roi": roi})
    event = shown.event.model_copy(update={"frames": (frame,)})
    return shown.model_copy(update={"event": event})


def types(**parts: int) -> TypeCounts:
    """What was named on plates of line-1 lately: type → parts."""
    return TypeCounts(
        at=AT,
        span_h=24,
        looks={"done": sum(parts.values()), "late": 1} if parts else {},
        named=sum(parts.values()),
        held=1,
        types=tuple(
            TypeCount(line="line-1", product="plate", type=type_, parts=count, objects=2 * count)
            for type_, count in parts.items()
        ),
        per="hour",
        times=tuple(TypeTime(begin=AT, type=type_, parts=count) for type_, count in parts.items()),
    )


def look(**more) -> Look:
    """What explains the score of such an event."""
    patch = base64_png(Image.new("RGB", (32, 32), "#a0522d"))
    values = {
        "camera": "top",
        "bundle_id": BUNDLE,
        "score": 3.0,
        "height_px": 2 * SIZE_WH[1],
        "width_px": 2 * SIZE_WH[0],
        "heat": grey((110, 80, 210, 140), 200),
        "coarse": grey((110, 80, 210, 140)),
        "refined": grey((125, 94, 195, 122)),
        "segmenter": "edgetam int8: segmenter (shipped, 18c68f161055)",
        "corrected_by": None,
        "peak_xy": (320.0, 220.0),
        "patch": patch,
        "normal_patch": patch,
        "normal_distance": 3.2,
        "note": "",
    }
    return Look.model_validate(values | more)


def item(number: int, *, why: Why = Why.NEAR_BAND, second: bool = False, revision: int = 0):
    """One part in the queue."""
    return QueueItem(
        event_id=f"event-{number}",
        why=why,
        value=1 / number,
        second=second,
        line="line-1",
        station="station-1",
        product="plate",
        part_id=f"part-{number}",
        captured_at=AT,
        revision=revision,
    )


def review(number: int, decision: Decision, **more) -> Review:
    """One decision as the log has it."""
    values = {
        "event_id": f"event-{number}",
        "second": False,
        "revision": 1,
        "reviewer": "anna",
        "decision": decision,
        "defect": None,
        "comment": "",
        "at": AT,
    }
    return Review.model_validate(values | more)


CERTIFICATE = Certificate(normals=200, rank=199, target=0.01, mean=0.01, bound95=0.02)


def bundle() -> BundleRow:
    """The bundle that judges on line-1, with a card and a gate of one sentence each."""
    origin = Origin(created_at=AT, git_revision="0123abcd", machine="two cores", versions={})
    share = Interval(value=0.9, low=0.8, high=0.95)
    latency = Latency(p50_ms=2.8, p95_ms=3.1, p99_ms=3.9)
    card = Card(
        name="plate",
        run_sha256="a" * 64,
        manifest_sha256="c" * 64,
        model="Patchcore",
        precision="INT8",
        graph_note="",
        geometry=Geometry(),
        score=ScoreRule(),
        band=BAND,
        certificate=CERTIFICATE,
        calibrate_scores=(1.0, 2.0),
        weights=(),
        origin=origin,
        export=ExportConfig(),
        golden=("golden_0.png",),
    )
    gate = GateRecord(
        bundle_id=BUNDLE,
        passed=True,
        refusals=(),
        evidence="test defects",
        goods="test",
        test_manifest_sha256="c" * 64,
        feature_correlations={},
        map_correlation=0.99,
        score_correlation=0.99,
        verdict_flips=0,
        auroc=share,
        reference_auroc=share,
        auroc_drop=share,
        aupro=None,
        pixel_auroc=None,
        recall=share,
        recall_by_defect={},
        false_reject_rate=None,
        latency=latency,
        reference_latency=latency,
        origin=origin,
        rows=(),
    )
    return BundleRow(
        bundle_id=BUNDLE,
        name="plate",
        created_at=AT,
        received_at=AT,
        card=card,
        gate=gate,
        chosen=("line-1",),
        running=("station-1",),
    )
