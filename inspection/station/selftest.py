"""The start-of-shift check: golden frames reproduce their maps, golden parts are judged as known.

A station may release parts only when it passed. Every check is made and listed, also after one
that failed; whoever opens the bundles calls it, and keeps the record.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import AwareDatetime, Field

from inspection.bundles.bundle import GOLDEN_TOLERANCE, Golden
from inspection.core.config import Settings
from inspection.core.decision import Verdict, decide
from inspection.core.errors import InspectionError
from inspection.core.guards import Guard, complaints
from inspection.core.imaging import load_image
from inspection.core.limits import list_folder
from inspection.core.records import Label, Record
from inspection.station.clock import SYSTEM_CLOCK, Clock
from inspection.station.judge import Judge
from inspection.station.look import hold_to_rules
from inspection.station.settings import GuardSettings
from inspection.station.state import SelftestStatus

NO_LIMITS = "has no guard limits; export it again to have them"
KNOWN = {Label.GOOD: (Verdict.PASS,), Label.DEFECT: (Verdict.REVIEW, Verdict.REJECT)}


@dataclass(frozen=True)
class Examined:
    """What judges one camera's frames of one product, with what it must show."""

    product: str
    camera: str
    judge: Judge
    golden: Callable[[], tuple[Golden, ...]]
    """`Bundle.golden` of the judge's bundle."""
    golden_parts: Path | None
    """Folder with good/ and defect/ pictures, as the camera took them; none has none."""


class Check(Settings):
    """One check: what of, what was found, what was wanted, what to do."""

    name: str = Field(description="product, camera, and the golden frame or the picture")
    bundle_id: str = Field(description="which bundle was checked")
    passed: bool
    found: str
    wanted: str
    remedy: str = Field(description="what to do when it failed")

    def __str__(self) -> str:
        """Say it in one line."""
        if self.passed:
            return f"ok     {self.name}: {self.found}"
        return f"WRONG  {self.name}: {self.found}; wanted {self.wanted}; {self.remedy}"


class SelftestRecord(Record):
    """What the start-of-shift check found."""

    checked_at: AwareDatetime
    checks: tuple[Check, ...] = Field(min_length=1)
    notes: tuple[str, ...] = Field((), description="what is no failure, but has to be known")

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def passed(self) -> bool:
        """Whether the station may release parts."""
        return not self.failed

    @property
    def status(self) -> SelftestStatus:
        """Sum it up for the station's snapshot."""
        return SelftestStatus(
            checked_at=self.checked_at,
            checks=len(self.checks),
            failed=tuple(str(check) for check in self.failed),
            notes=self.notes,
        )

    def __str__(self) -> str:
        """Say it for a technician: the answer, what is wrong, what to know, what is right."""
        count = len(self.checks)
        head = f"self-test passed: {count} checks"
        if self.failed:
            head = f"self-test FAILED: {len(self.failed)} of {count} checks; no part is released"
        right = (check for check in self.checks if check.passed)
        notes = (f"note   {note}" for note in self.notes)
        return "\n".join([head, *map(str, self.failed), *notes, *map(str, right)])


def selftest(
    examined: Sequence[Examined],
    guards: GuardSettings,
    clock: Clock = SYSTEM_CLOCK,
    rest_s: float = 0.0,
) -> SelftestRecord:
    """Check every judge with its golden frames and, where it has any, its golden parts.

    Good parts must PASS without a complaint of a guard that is not off; defects must be REVIEW or
    REJECT by score and accept rules alone, whatever guards say. A picture that cannot be read and
    an empty folder are failed checks.

    Args:
        examined: every camera of every recipe, at least one.
        guards: which guards are off.
        clock: for the record's time.
        rest_s: time between two golden parts, for parts under way to catch up.
    """
    checks = [check for one in examined for check in _examine(one, guards, rest_s)]
    notes = tuple(
        f"{one.product}/{one.camera}: bundle {one.judge.bundle_id[:12]} {NO_LIMITS}"
        for one in examined
        if unguarded(one.judge, guards)
    )
    return SelftestRecord(checked_at=clock.now(), checks=tuple(checks), notes=notes)


def unguarded(judge: Judge, guards: GuardSettings) -> bool:
    """Say whether guards that need limits are configured, but the judge's bundle has none."""
    return judge.guards is None and any(getattr(guards, guard) != "off" for guard in Guard)


def _examine(one: Examined, guards: GuardSettings, rest_s: float) -> Iterator[Check]:
    yield from _golden_frames(one)
    if one.golden_parts is not None:
        for label in Label:
            yield from _golden_parts(one, one.golden_parts / label, label, guards, rest_s)


def _golden_frames(one: Examined) -> Iterator[Check]:
    try:
        results = one.golden()
    except InspectionError as error:
        yield _check(
            one,
            "golden frames",
            passed=False,
            found=str(error),
            wanted="golden frames that can be read",
            remedy="copy the bundle again",
        )
        return
    for golden in results:
        yield _check(
            one,
            f"golden frame {golden.name}",
            passed=golden.reproduced,
            found=f"map differs by {golden.difference:.2%} of its largest value",
            wanted=f"at most {GOLDEN_TOLERANCE:.0%}",
            remedy="use a CPU with VNNI, or export with precision fp16",
        )
        if golden.defect_score is not None and not one.judge.override:
            verdict = decide(golden.defect_score, one.judge.band)
            yield _check(
                one,
                f"golden defect {golden.name}",
                passed=verdict in KNOWN[Label.DEFECT],
                found=verdict,
                wanted=" or ".join(KNOWN[Label.DEFECT]),
                remedy="set thresholds within the limits of the bundle's card",
            )


def _golden_parts(
    one: Examined, folder: Path, label: Label, guards: GuardSettings, rest_s: float
) -> Iterator[Check]:
    try:
        pictures = [path for path in list_folder(folder) if not path.name.startswith(".")]
        found = "no pictures"
    except OSError as error:
        pictures, found = [], f"cannot be read ({error.strerror})"
    if not pictures:
        yield _check(
            one,
            str(folder),
            passed=False,
            found=found,
            wanted=f"pictures of parts known to be {label}",
            remedy="put some there, or take golden_parts out of the recipe",
        )
    for path in pictures:
        time.sleep(rest_s)
        passed, found = _judged(one.judge, path, label, guards)
        yield _check(
            one,
            str(path),
            passed=passed,
            found=found,
            wanted=" or ".join(KNOWN[label]),
            remedy="look at the picture, the light, thresholds and accept rules; no part before "
            "that",
        )


def _judged(judge: Judge, path: Path, label: Label, guards: GuardSettings) -> tuple[bool, str]:
    """Say whether a picture is judged as known, and its verdict or why it was not come to."""
    try:
        pixels = judge.cut(load_image(path))
        tiles, part_hw = judge.prepare(pixels), (pixels.shape[0], pixels.shape[1])
        if label is Label.GOOD and judge.guards is not None:
            for guard, complaint in complaints(tiles, part_hw, judge.guards).items():
                if getattr(guards, guard) != "off":
                    return False, f"guard {guard}: {complaint}"
        accepted = hold_to_rules(judge, pixels, judge.judge(tiles, part_hw))
    except InspectionError as error:
        return False, f"not judged ({error})"
    found = ", ".join(filter(None, (accepted.verdict, accepted.reason)))
    return accepted.verdict in KNOWN[label], found


def _check(
    one: Examined, subject: str, *, passed: bool, found: str, wanted: str, remedy: str
) -> Check:
    return Check(
        name=f"{one.product}/{one.camera} {subject}",
        bundle_id=one.judge.bundle_id,
        passed=passed,
        found=found,
        wanted=wanted,
        remedy=remedy,
    )
