"""Makes a champion fit a slower PC: climbs a ladder of cheaper ones and says what each costs.

Candidates are ranked on held-out normals and defects generated on them, each timed in turn with the
champion on this CPU. The climb ends with the first that keeps the budget, costs little recall and
passes its gate. The test split is read by the gates alone: the champion's, those of candidates that
would end the climb, and then the best one's, the next one's only where that refused.
"""

import logging
from collections.abc import Mapping
from functools import partial
from math import inf
from pathlib import Path
from typing import Self

from pydantic import Field, StrictFloat, StrictInt, model_validator

from inspection.bundles.bundle import open_bundle
from inspection.bundles.seal import read_gate, verify_bundle
from inspection.compression.ladder import Rung, champion_rung, lay_ladder
from inspection.compression.making import BUNDLE, MEASURED, make
from inspection.compression.ranking import (
    OnTest,
    Step,
    Wanted,
    cost_of,
    cost_on_test,
    explain,
    lay_out,
    times,
)
from inspection.compression.teacher import layers_of
from inspection.core.config import Settings
from inspection.core.errors import InspectionError, TrainingError
from inspection.core.gate import GateRecord
from inspection.core.imaging import Rgb
from inspection.core.parts import load_part
from inspection.core.records import (
    Interval,
    Record,
    RunRecord,
    Split,
    hash_file,
    hash_json,
    read_manifest,
    read_record,
    write_record,
)
from inspection.core.settings import ExportConfig
from inspection.export.build import read_features, read_run
from inspection.export.gate import gate_bundle
from inspection.networks.formulanet import HALF, NAME
from inspection.retraining.alone import do_alone
from inspection.retraining.measuring import DEFECTS_FROM
from inspection.retraining.race import Took, ratio, time_in_turn, took
from inspection.retraining.ranking import Measured, ask_gates, recommend
from inspection.training.weights import find_weights

logger = logging.getLogger(__name__)

REPORT = "compress.json"
TIMED_PARTS = 16  # calibrate normals that are judged round and round


class CompressConfig(Settings):
    """What the compressed bundle must keep."""

    budget_ms: StrictFloat | None = Field(None, gt=0, description="median per part on this CPU, ms")
    budget_share: StrictFloat | None = Field(
        None, gt=0, lt=1, description="in its place, of the champion's time on this CPU"
    )
    most_cost: StrictFloat = Field(
        0.03, ge=0, lt=1, description="recall it may lose: for the climb to end, and on test"
    )
    defects_per_normal: StrictInt = Field(2, ge=1, le=20)
    export: ExportConfig = Field(default_factory=ExportConfig)

    @model_validator(mode="after")
    def _has_one_budget(self) -> Self:
        if (self.budget_ms is None) == (self.budget_share is None):
            found = "none" if self.budget_ms is None else "both"
            raise ValueError(f"budget_ms, budget_share: found {found}; wanted one of them")
        return self

    def budget_of(self, champion: Took) -> float:
        """Give what a part may take, ms."""
        return self.budget_ms or (self.budget_share or 0.0) * champion.p50_ms.value


class CompressReport(Record):
    """What was tried, what it cost, and what was chosen."""

    run_sha256: str
    manifest_sha256: str
    budget_ms: float
    most_cost: float
    champion: Step
    champion_bundle: str = Field(description="below the folder of this record")
    rows: tuple[Step, ...] = Field(description="least cost in recall first, then those that failed")
    chosen: str | None = Field(description="none where nothing keeps the budget and its gate")
    bundle: str | None = Field(description="of the chosen one, below the folder of this record")
    champion_gate: GateRecord | None = Field(description="none where it refused")
    gate: GateRecord | None = Field(description="of the chosen one")
    cost: Interval | None = Field(
        description="recall it loses against the champion, the same test parts, paired"
    )
    words: str

    @property
    def kept(self) -> bool:
        """Whether something is chosen that loses no more than asked."""
        return (
            self.chosen is not None and self.cost is not None and self.cost.value <= self.most_cost
        )


def compress(run: Path, config: CompressConfig, out: Path) -> CompressReport:
    """Climb the ladder until a candidate keeps the budget at little cost; gate the best.

    A champion that its own gate refuses is nothing to hold candidates against: none is made.
    What an earlier call with the same run and settings finished is taken as it is; times are taken
    anew. Writes `compress.json` into `out`, beside a folder for each candidate.

    Args:
        run: folder of the champion's training.
        config: the budget.
        out: folder; may hold what an earlier call left.

    Raises:
        TrainingError: the run is damaged, of a model that has no ladder, or the champion cannot be
            made.
        DatasetError: the run's pictures are gone or changed, or it has no calibrate part.
    """
    climb = Climb(run, config, out)
    (champion,), champion_gate = ask_gates((climb.stand(),), inf, climb.gate)
    if champion.took is None:
        raise InspectionError("champion was not timed; wanted its milliseconds; compress again")
    budget_ms = config.budget_of(champion.took)
    rows: tuple[Step, ...] = (champion,)
    gate = champion_gate
    if champion_gate and not keeps(champion, budget_ms):
        rows, gate = ask_gates(climb.up(champion, budget_ms), budget_ms, climb.gate)
    chosen = recommend(rows, budget_ms) if gate else None
    rows = () if champion in rows else rows
    cost = cost_on_test(champion_gate, gate) if champion_gate and gate else None
    on_test = OnTest(cost, gate) if cost and gate else None
    report = CompressReport(
        run_sha256=climb.record.sha256,
        manifest_sha256=climb.record.manifest_sha256,
        budget_ms=budget_ms,
        most_cost=config.most_cost,
        champion=champion,
        champion_bundle=climb.bundle(champion.name).relative_to(out).as_posix(),
        rows=rows,
        chosen=chosen.name if chosen else None,
        bundle=climb.bundle(chosen.name).relative_to(out).as_posix() if chosen else None,
        champion_gate=champion_gate,
        gate=gate,
        cost=cost,
        words=explain(champion, rows, chosen, Wanted(budget_ms, config.most_cost), on_test),
    )
    write_record(out / REPORT, report)
    return report


def keeps(step: Step, budget_ms: float) -> bool:
    """Say whether a step keeps the budget."""
    return step.took is not None and step.took.p50_ms.value <= budget_ms


class Climb:
    """One climb: makes rungs, each in a process of its own, and times them with the champion."""

    def __init__(self, run: Path, config: CompressConfig, out: Path) -> None:
        self.record: RunRecord = read_run(run)
        if self.record.config.is_day0:
            raise TrainingError(
                f"{run}: model is {self.record.config.model}, which judges by words at the one "
                "size its CLIP sees; wanted a model that was fitted, such as Patchcore; train "
                "that on good parts and compress its run"
            )
        self._run, self._config, self._out = run, config, out
        layers = tuple(layers_of(read_features(run))) if self.record.graph == "features" else ()
        self._champion = champion_rung(config.export)
        self._ladder = lay_ladder(self.record.config, layers, config.export)
        manifest = read_manifest(run / "manifest.json")
        entries = manifest.of(Split.CALIBRATE)[:TIMED_PARTS]
        self._parts: list[Rgb] = [load_part(manifest, entry) for entry in entries]

    def stand(self) -> Step:
        """Make, measure and time the champion.

        Raises:
            InspectionError: it cannot be made.
        """
        return self._step(self._champion, None)

    def up(self, champion: Step, budget_ms: float) -> tuple[Step, ...]:
        """Climb until a rung keeps the budget, costs little and passes its gate.

        Returns:
            All that was tried, best first; those a gate refused are marked so.
        """
        tried: dict[str, Step] = {}
        for rung in self._ladder:
            if not _is_due(rung, tried, budget_ms):
                continue
            logger.info("making %s: %s", rung.name, rung.how)
            try:
                step = self._step(rung, champion)
            except InspectionError as error:
                step = Step(name=rung.name, how=rung.how, failed=str(error))
            tried[rung.name] = step
            logger.info("%s", step)
            if keeps(step, budget_ms) and step.cost and step.cost.value <= self._config.most_cost:
                (tried[rung.name],), gate = ask_gates((step,), budget_ms, self.gate)
                if gate:
                    break
                logger.info("its gate refused %s: %s", rung.name, tried[rung.name].refused)
        return lay_out(list(tried.values()))

    def gate(self, name: str) -> GateRecord:
        """Put a candidate to its gate, unless it was."""
        bundle = self.bundle(name)
        return read_gate(bundle, verify_bundle(bundle)) or gate_bundle(bundle)

    def bundle(self, name: str) -> Path:
        """Name the bundle of a rung."""
        (rung,) = (one for one in (self._champion, *self._ladder) if one.name == name)
        return self._folder(rung) / BUNDLE

    def _folder(self, rung: Rung) -> Path:
        """Name a rung's folder by all that decides what comes of it."""
        made_from = {
            "rung": rung.model_dump(mode="json", exclude={"how", "after", "unless"}),
            "run": self.record.sha256,
            "defects": (DEFECTS_FROM, self._config.defects_per_normal),
            "weights": _shipped_sha256(rung),
        }
        return self._out / f"{rung.name}-{hash_json(made_from)[:12]}"

    def _step(self, rung: Rung, champion: Step | None) -> Step:
        """Make, measure and time a rung, beside the champion where that was.

        Its milliseconds are the paired ratio's share of what the champion took when that was timed
        alone, so that what else the machine does since then counts for nobody.
        """
        folder = self._folder(rung)
        if not (folder / MEASURED).exists():
            work = partial(make, rung, self._run, self._config.defects_per_normal, folder)
            do_alone(work, f"candidate '{rung.name}'")
        measured = read_record(folder / MEASURED, Measured)
        names = {rung.name, self._champion.name}
        bundles = {one: open_bundle(self.bundle(one), allow_refused=True) for one in sorted(names)}
        took_ms = time_in_turn(bundles, self._parts)
        own, others = took_ms[rung.name], took_ms[self._champion.name]
        step = Step(
            name=rung.name,
            how=rung.how,
            measured=measured,
            took=took(own.ravel()),
            ratio=ratio(own, others),
            cost=cost_of(measured, measured),
        )
        if champion is None or champion.took is None or champion.measured is None:
            return step
        cost = cost_of(champion.measured, measured)
        of_champion = ratio(own, others)
        return step.model_copy(
            update={"took": times(champion.took, of_champion, own), "cost": cost}
        )


def _is_due(rung: Rung, tried: Mapping[str, Step], budget_ms: float) -> bool:
    """Say whether a rung is worth its making, by what those before it took."""
    before, other = (tried.get(name or "") for name in (rung.after, rung.unless))
    fast_enough = rung.after is None or (before is not None and keeps(before, budget_ms))
    too_slow = other is not None and other.took is not None and not keeps(other, budget_ms)
    return fast_enough and (rung.unless is None or too_slow)


def _shipped_sha256(rung: Rung) -> str | None:
    """Give the hash of the file a rung's network begins with; none where it is not our own."""
    if rung.train is None or rung.train.backbone.name not in {NAME, HALF}:
        return None
    found = find_weights(NAME, rung.train.backbone.weights)
    return hash_file(found[0]) if found else None
