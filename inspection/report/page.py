"""Renders the facts of one bundle as one self-contained HTML page.

Every number of the page is taken from a record; nothing is measured here.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import jinja2
from markupsafe import Markup

from inspection.core.decision import Verdict
from inspection.core.errors import InspectionError
from inspection.core.gate import GateRecord
from inspection.core.imaging import Rgb
from inspection.core.records import Card, Interval, Label, Split
from inspection.metrics import image
from inspection.report import charts
from inspection.report.facts import NotMeasured, ReportFacts
from inspection.report.robustness import is_worse

PREVALENCES = (0.0001, 0.001, 0.01)  # shares of defective parts a line may have
JPEG_QUALITY = 90
GENERATED = "generated defects"


@dataclass(frozen=True)
class ConfusionLine:
    """One row of the confusion table: label, parts and ppm of each verdict."""

    name: str
    label: Label
    cells: tuple[tuple[Verdict, int, float | None], ...]
    total: int


@dataclass(frozen=True)
class LineForecast:
    """Parts per million of a line of which a share is defective."""

    prevalence_ppm: float
    escapes_ppm: float | None
    defects_found_ppm: float | None
    overkill_ppm: float | None


@dataclass(frozen=True)
class TestView:
    """What the page shows of the gate's test frames."""

    scores: charts.TestScores
    average_precision: float
    confusion: tuple[ConfusionLine, ...]
    forecast: tuple[LineForecast, ...]
    parts_by_defect: dict[str, int]


def render_page(facts: ReportFacts) -> str:
    """Render the page; the same facts give the same text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("inspection.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "percent_interval": percent_interval,
        "ppm": ppm,
        "picture": encode_picture,
        "mib": lambda size: f"{size / 2**20:.1f} MiB",
    }
    environment.tests |= {"missing": lambda value: isinstance(value, NotMeasured)}
    gate = facts.gate
    test = view_test(gate, shipped_precision(facts)) if gate is not None else None
    return environment.get_template("report.html.j2").render(
        facts=facts,
        card=facts.card,
        gate=gate,
        test=test,
        limits=facts.card.export.gate,
        least_map=facts.card.export.gate.least_map_correlation(estimated=facts.card.estimated),
        generated=gate is not None and gate.evidence == GENERATED,
        random_weights=[w for w in facts.card.weights if w.source == "random"],
        promise=promise(facts.card),
        charts=_draw(facts, test),
        verdicts=list(Verdict),
        is_worse=is_worse,
    )


def view_test(gate: GateRecord, shipped: str) -> TestView:
    """Derive from the gate's rows what the page shows of them."""
    defects = GENERATED if gate.evidence == GENERATED else "defects"
    goods = "good parts" if gate.goods is Split.TEST else "good parts of calibrate"
    scores = charts.split_scores(gate.rows, goods=goods, defects=defects, shipped=shipped)
    table = image.confusion([r.label for r in gate.rows], [r.verdict for r in gate.rows])
    kinds = [row.defect or "defect" for row in gate.rows if row.label is Label.DEFECT]
    return TestView(
        scores=scores,
        average_precision=image.average_precision(scores.good, scores.defect),
        confusion=tuple(
            ConfusionLine(
                name,
                label,
                tuple((v, table.count(label, v), table.ppm(label, v)) for v in Verdict),
                table.count(label),
            )
            for name, label in ((goods, Label.GOOD), (defects, Label.DEFECT))
        ),
        forecast=tuple(_forecast(table, prevalence) for prevalence in PREVALENCES),
        parts_by_defect={kind: kinds.count(kind) for kind in sorted(set(kinds))},
    )


def _forecast(table: image.Confusion, prevalence: float) -> LineForecast:
    def share(label: Label, verdicts: Sequence[Verdict]) -> float | None:
        parts = [table.share_of_line(label, verdict, prevalence) for verdict in verdicts]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None

    stopped = (Verdict.REVIEW, Verdict.REJECT, Verdict.FAULT)
    return LineForecast(
        prevalence_ppm=prevalence * image.MILLION,
        escapes_ppm=share(Label.DEFECT, [Verdict.PASS]),
        defects_found_ppm=share(Label.DEFECT, stopped),
        overkill_ppm=share(Label.GOOD, stopped),
    )


def promise(card: Card) -> str:
    """Say the certificate in words, or that there is none."""
    certificate = card.certificate
    if certificate is None:
        return (
            f"No false-reject rate is promised. The review threshold is a first guess: the largest "
            f"score of {len(card.calibrate_scores):,} good parts. Nothing is rejected; what lies "
            "above it goes to a person. Keep looking at every part until a bundle promises "
            "something: train anew when enough good parts are collected."
        )
    return (
        f"Of future good parts like the {certificate.normals:,} held-out ones, "
        f"{percent(certificate.mean)} are expected to be reviewed or rejected "
        f"(1 in {1 / certificate.mean:,.0f}); asked for was {percent(certificate.target)}. "
        f"With 95 % confidence it is at most {percent(certificate.bound95)}. "
        f"The review threshold is the score of rank {certificate.rank:,} among them."
    )


def shipped_precision(facts: ReportFacts) -> str:
    """Name the precision of the shipped graph."""
    return facts.card.export.precision.upper()


def percent(share: float) -> str:
    """Say a share in percent with three significant digits."""
    return f"{100 * share:.3g}\u00a0%"


def percent_interval(interval: Interval) -> str:
    """Say a rate and its 95 % interval in percent."""
    return f"{percent(interval.value)} [{100 * interval.low:.3g}, {100 * interval.high:.3g}]"


def ppm(value: float | None) -> str:
    """Say parts per million, or that there were no parts."""
    return "not tested" if value is None else f"{value:,.0f}"


def encode_picture(pixels: Rgb) -> str:
    """Give uint8 h×w×3 RGB pixels as the source of an <img>: a JPEG within the page."""
    coded, buffer = cv2.imencode(
        ".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    if not coded:
        raise InspectionError(f"picture {pixels.shape}: cannot be coded as JPEG; check OpenCV")
    return "data:image/jpeg;base64," + base64.b64encode(buffer.tobytes()).decode()


def _draw(facts: ReportFacts, test: TestView | None) -> dict[str, Markup]:
    band, gate = facts.card.band, facts.gate
    drawings: dict[str, Callable[[], str]] = {
        "scores": lambda: charts.draw_histogram(
            facts.card.calibrate_scores, test.scores if test else None, band
        )
    }
    if test is not None and gate is not None:
        scores = test.scores
        drawings |= {
            "roc": lambda: charts.draw_roc(scores, band),
            "precision_recall": lambda: charts.draw_precision_recall(scores, band),
            "recall": lambda: charts.draw_recall(gate.recall_by_defect, scores.defects),
            "scatter": lambda: charts.draw_scatter(scores, band, gate.score_correlation),
        }
    return {name: Markup(draw()) for name, draw in drawings.items()}  # noqa: S704 -- our own SVG
