"""The second stage at a station: asks a detector of a frame, within its time, for known defects."""

import base64
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from inspection.bundles.graph import Compiling
from inspection.core.decision import AcceptRule, Verdict
from inspection.core.errors import BundleError, OutOfTime
from inspection.core.imaging import Mask, Rgb
from inspection.core.known import (
    LONGEST_NAME,
    Holds,
    Named,
    Recognised,
    Status,
    hold,
    hold_unseen,
    unknown_types,
)
from inspection.detectors.detections import Detections
from inspection.detectors.detector import Detector, open_detector
from inspection.station.judge import Object, Seen
from inspection.station.look import words_of
from inspection.station.recognition import RESERVED, RecognitionSettings
from inspection.station.settings import StationConfig

MOST_LISTED = 50  # objects of a frame in its event; all are counted
LISTED_OF_PART = 400  # of all frames of a camera
MOST_MASKS = 30_000  # characters of the masks of a camera's frames: its event goes to every output
UNTOLD = "there are more objects than the detector tells of, {}"
TRIES = 3  # of a detector at its start, by which it shows how fast it can be
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recognition:
    """An open detector as one recipe uses it; for several threads at once."""

    detector: Detector
    budget_s: float
    reserved_s: float
    """Of the time until the deadline, what it may not use."""
    holds: Holds | None
    """Which objects hold a frame; none names only what is held already."""
    room: int = MOST_MASKS
    """Characters of the masks of a frame."""
    listed: int = MOST_LISTED
    """Objects of a frame in its event."""
    above_normals: float = 0.0
    """Share of normals whose score a frame that passes must reach, to be looked at."""

    def see(
        self,
        cut: Rgb,
        verdict: Verdict,
        left_s: Callable[[], float] | None,
        *,
        usual: bool = False,
    ) -> Seen | None:
        """Name the known defects of a frame, as `Judge.recognise` says.

        Args:
            cut: uint8 H×W×3 RGB.
            verdict: of score and guards.
            left_s: gives the seconds until the part's deadline; none has none.
            usual: its anomaly score is one of a normal; it is not looked at where it passes.
        """
        begun_s = time.monotonic()
        if verdict is Verdict.PASS and self.holds is None:
            return None
        if verdict is Verdict.PASS and usual:
            return Seen(self._record("skipped", begun_s), (), verdict)
        try:
            return self._seen(self._find(cut, left_s), verdict, begun_s)
        except OutOfTime as error:
            return self._blind("late", verdict, words_of(error), begun_s)
        except Exception as error:  # noqa: BLE001 - one frame's second stage, recorded
            return self._blind("failed", verdict, words_of(error), begun_s)

    def _seen(self, found: Detections, verdict: Verdict, begun_s: float) -> Seen:
        objects = tuple(_objects(found, self.detector.card.types))
        surest = [(one.named.type, one.named.score) for one in objects]
        untold = UNTOLD.format(self.detector.card.limits.most) if found.more else ""
        after, reason = self._held(verdict, surest, untold)
        alone, held_by = self._held(Verdict.PASS, surest, untold)
        counts = Counter(type_ for type_, _ in surest)
        recognised = self._record("failed" if untold else "done", begun_s, untold).model_copy(
            update={
                "counts": dict(counts.most_common()),
                "found": tuple(_with_masks(objects[: self.listed], self.room)),
                "alone": alone,
            }
        )
        return Seen(recognised, objects, after, reason, held_by)

    def _held(
        self, verdict: Verdict, surest: Sequence[tuple[str, float]], untold: str
    ) -> tuple[Verdict, str]:
        """Hold a frame for what was named on it, and for what else may be there."""
        if self.holds is None:
            return verdict, ""
        after, reason = hold(verdict, surest, self.holds)
        return hold_unseen(after, untold) if untold and after is Verdict.PASS else (after, reason)

    def _find(self, cut: Rgb, left_s: Callable[[], float] | None) -> Detections:
        if left_s is None:  # at a desk and in the start-of-shift check no line waits
            return self.detector.find(cut)
        within_s = min(self.budget_s, left_s() - self.reserved_s)
        if within_s <= 0:
            raise OutOfTime(
                f"detector '{self.detector.card.name}': nothing was left of the deadline; lighten "
                "the machine's load, or raise deadline_ms"
            )
        return self.detector.find(cut, within_s)

    def _blind(self, status: Status, verdict: Verdict, why: str, begun_s: float) -> Seen:
        said = f"the second stage {'came late' if status == 'late' else 'failed'}: {why}"
        after, reason = self._held(verdict, (), said)
        alone, held_by = self._held(Verdict.PASS, (), said)
        recognised = self._record(status, begun_s, why).model_copy(update={"alone": alone})
        return Seen(recognised, (), after, reason, held_by)

    def _record(self, status: Status, begun_s: float, reason: str = "") -> Recognised:
        return Recognised(
            detector=self.detector.card.name,
            detector_id=self.detector.bundle_id,
            status=status,
            reason=reason,
            latency_ms=round((time.monotonic() - begun_s) * 1000, 2),
        )


def _objects(found: Detections, types: Sequence[str]) -> Iterator[Object]:
    for number, box in enumerate(found.px_boxes):
        shape = box[3] - box[1], box[2] - box[0]
        mask = found.masks[number] if found.masks is not None else None
        drawn = mask is not None and bool(mask.any())  # else its box is all that is known
        # of a box alone every px counts, at no cost of memory
        covered = mask if mask is not None and drawn else np.broadcast_to(np.True_, shape)
        yield Object(
            Named(
                type=types[int(found.types[number])],
                score=min(1.0, max(0.0, float(found.scores[number]))),
                box=box,
                area_px=int(np.count_nonzero(covered)),
            ),
            covered,
            drawn,
        )


def _with_masks(objects: Sequence[Object], room: int) -> Iterator[Named]:
    """Give what the event says of objects, surest first, with masks until one has no room."""
    for one in objects:
        mask = _as_text(one.mask) if one.drawn and room else ""
        fits = bool(mask) and len(mask) <= room
        yield one.named.model_copy(update={"mask": mask}) if fits else one.named
        if mask:
            room = room - len(mask) if fits else 0


def _as_text(mask: Mask) -> str:
    """Encode a bool mask as base64 of a grey PNG, 255 on the object."""
    _, encoded = cv2.imencode(".png", mask.astype(np.uint8) * 255)
    return base64.b64encode(encoded.tobytes()).decode()


def open_recognitions(
    config: StationConfig, *, at_desk: bool = False
) -> Mapping[tuple[str, str], Recognition]:
    """Open the detector of every recipe that has one, once for all that name the same.

    Args:
        config: the station's configuration.
        at_desk: no line waits, so its budget is no matter.

    Raises:
        BundleError: one cannot be opened, does not know a type that its recipe names, never tells
            of scores that are to hold a frame, or finds nothing out within its budget on this
            machine, so that every part would be held.
        BundleUnavailable: the disk or the memory refuses now.
    """
    # no cache: no seal is on what lies there, and a detector has no golden maps to tell by
    compiling = Compiling(config.inference.mode, config.inference.threads)
    opened: dict[Path, tuple[Detector, float]] = {}
    found = {}
    for place in config.places:
        wanted = config.recognition_of(*place)
        if wanted is None:
            continue
        if wanted.detector not in opened:
            opened[wanted.detector] = _open(wanted.detector, config.keys, compiling)
        detector, fastest_s = opened[wanted.detector]
        where = f"recipe '{place[0]}', camera '{place[1]}'"
        _require_known(wanted, config.recipes[place[0]][place[1]].accept, detector, where)
        if not at_desk and fastest_s * 1000 > wanted.budget_ms:
            raise BundleError(
                f"{where}: detector '{detector.card.name}' takes {fastest_s * 1000:.0f} ms on this "
                "machine at its fastest, for each frame; wanted at most recognition.budget_ms "
                f"{wanted.budget_ms}; raise it, or take a smaller detector"
            )
        reserved_s = RESERVED * config.deadline_ms / 1000
        frames = config.frames.count if config.frames else 1
        found[place] = Recognition(
            detector,
            wanted.budget_ms / 1000,
            reserved_s,
            wanted.holding,
            MOST_MASKS // frames,
            min(MOST_LISTED, max(1, LISTED_OF_PART // frames)),
            wanted.above_normals,
        )
    return found


def _open(folder: Path, keys: tuple[str, ...], compiling: Compiling) -> tuple[Detector, float]:
    """Open a detector and use each copy of its graph, because the first use is the slowest.

    Returns:
        It, and how long its fastest look took, s.
    """
    detector = open_detector(folder, keys, compiling)
    for name in (detector.card.name, *detector.card.types):
        if not 0 < len(name) <= LONGEST_NAME or "\0" in name:
            raise BundleError(
                f"{folder}: its name or a type, {name[:40]!r}, has {len(name)} characters or a "
                f"NUL; wanted 1 to {LONGEST_NAME}, which the hub keeps; seal it with another"
            )
    nothing = np.zeros((*detector.card.input_hw, 3), np.uint8)
    took_s = []
    for _ in range(detector.copies + TRIES):
        begun_s = time.monotonic()
        detector.find(nothing)
        took_s.append(time.monotonic() - begun_s)
    card, fastest_s = detector.card, min(took_s)
    logger.info(
        "known defects are named",
        extra={"detector": card.name, "types": card.types, "ms": round(fastest_s * 1000, 1)},
    )
    return detector, fastest_s


def _require_known(
    wanted: RecognitionSettings, rules: Sequence[AcceptRule], detector: Detector, where: str
) -> None:
    """Refuse types that a detector does not know, and scores that it never tells of.

    Raises:
        BundleError: the recipe names one.
    """
    card = detector.card
    holding = tuple(wanted.holding.types) if wanted.holding else ()
    named = [("recognition.holds.types", holding)]
    named += [(f"accept rule '{rule.name}'", rule.types) for rule in rules]
    for what, types in named:
        if words := unknown_types(types, card.types, f"{where}, {what}", card.name):
            raise BundleError(words)
    for what, held in _holds_of(wanted.holding):
        if held < card.limits.least_score:
            raise BundleError(
                f"{where}, recognition.holds{what}: {held:g}, but detector '{card.name}' tells of "
                f"objects from a score of {card.limits.least_score:g}; wanted no less; make it "
                "again with a lower least_score, or raise this one"
            )


def _holds_of(holds: Holds | None) -> Iterator[tuple[str, float]]:
    """Give every score that a recipe says is to hold a frame, with where it stands."""
    if holds is None:
        return
    named = [("", holds), *((f".types.{type_}", one) for type_, one in holds.types.items())]
    for where, one in named:
        for name in sorted(one.model_fields_set & {"review_from", "reject_from"}):
            if (score := getattr(one, name)) is not None:
                yield f"{where}.{name}", score
