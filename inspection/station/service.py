"""Runs a station as a process: puts it together, starts its threads, ends them in order."""

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial

from inspection.core.errors import BundleError, InspectionError
from inspection.core.records import Event, write_record
from inspection.station.clock import SYSTEM_CLOCK
from inspection.station.frames.bands import unkept
from inspection.station.frames.intake import bring, make_intake
from inspection.station.health import Health, Surroundings
from inspection.station.heart import Heart
from inspection.station.loop import Line
from inspection.station.outputs.couriers import Couriers
from inspection.station.outputs.output import Output
from inspection.station.part import Intake
from inspection.station.pictures import Pictures
from inspection.station.recipes.opening import open_recipes
from inspection.station.recipes.recipes import Recipes
from inspection.station.recipes.thresholds import ThresholdUpdates
from inspection.station.recipes.updates import BundleUpdates
from inspection.station.selftest import SelftestRecord, selftest
from inspection.station.settings import MB, StationConfig
from inspection.station.shadow import Hearer, Scored, Shadow
from inspection.station.sources.source import Source
from inspection.station.spool import Spool
from inspection.station.state import (
    ChallengerStatus,
    SelftestStatus,
    StationState,
    StationStatus,
)
from inspection.station.stopping import stop_on_signals
from inspection.station.tasks import Task, running
from inspection.station.wiring import make_outputs, make_source, make_web

logger = logging.getLogger(__name__)

GIL_S = 0.0005  # until a thread lets go of the interpreter: at Python's 5 ms work beside the loop,
# an update say, holds up a part several times
DRAIN_S = 5.0  # how long an ending station waits for its outputs to take what it judged
SELFTEST_FILE = "selftest.json"


def serve(
    config: StationConfig, outputs: Sequence[Output] = (), source: Source | None = None
) -> StationStatus:
    """Run one station until SIGTERM or SIGINT, or until its source has no more parts.

    Must be called in the main thread. What waits in the queue is judged before it ends; a second
    signal ends at once.

    Args:
        config: the station's configuration.
        outputs: further outputs beside the configured ones.
        source: takes the place of the configured one.

    Returns:
        The last snapshot.

    Raises:
        BundleError: a bundle cannot be opened, or the start-of-shift check did not pass.
        StationError: another process has data_dir, the database is damaged, the source cannot
            begin, an output is gone for good, or the bundle failed on too many parts in a row.
        ConfigError: an output cannot be made.
    """
    clock = SYSTEM_CLOCK
    sys.setswitchinterval(GIL_S)
    with stop_on_signals() as stop, Spool(config.data_dir) as spool, ExitStack() as stack:
        health = Health(config, spool.counters(), spool.latest(1), clock)
        budget_bytes, drop = config.spool.budget_mb * MB, partial(_drop, spool, health)
        pictures = stack.enter_context(closing(Pictures(config.data_dir, budget_bytes, drop)))
        every = [*make_outputs(config, pictures.of, drop), *outputs]
        brings = source or make_source(config, every, clock, spool)
        couriers = stack.enter_context(Couriers(every, spool))
        intake = make_intake(config.queue_parts, config.frames, clock)
        watch = _Watch(health, pictures, couriers, intake)
        heart = Heart(
            config.data_dir, config.heartbeat_ms / 1000, health, watch.look, couriers.beat
        )
        beside = [stack.enter_context(running("heart", heart.run))]
        hears = [couriers.publish]
        if (web := make_web(config, lambda: heart.status, brings)) is not None:
            hears.append(stack.enter_context(web).observe)
        stack.callback(health.end, "the station has ended")
        recipes = open_recipes(config, clock)
        watch.selftest = require_selftest(config, recipes).status
        shadow = stack.enter_context(closing(watch.begin_shadow(config, recipes, every)))
        beside += [
            stack.enter_context(running("updates", BundleUpdates(config, recipes).run)),
            stack.enter_context(running("thresholds", ThresholdUpdates(config, recipes).run)),
        ]
        line = Line(
            *(config, recipes, spool, pictures, health),
            signal=partial(_signal, hears),
            clock=clock,
            beside=shadow.take,
        )
        health.turn(StationState.READY)
        try:
            with running("source", partial(bring, brings, intake), stop) as bringing:
                line.run(intake, stop, partial(_ended, couriers, beside, bringing))
        except Exception as error:
            line.give_up(intake, str(error))
            health.end(str(error))
            raise
        finally:
            health.end("the station has ended")
            couriers.drain(health.sequence, DRAIN_S)
    return heart.status


@dataclass
class _Watch:
    """Where the snapshot of a station comes from."""

    health: Health
    pictures: Pictures
    couriers: Couriers
    intake: Intake
    recipes: Recipes | None = None
    """None until they are open."""
    selftest: SelftestStatus | None = None
    shadow: Shadow | None = None
    hearers: Sequence[Hearer] = ()

    def look(self) -> StationStatus:
        """Take one."""
        return self.health.beat(
            Surroundings(
                waiting=len(self.intake),
                source=self.intake.source_state,
                outputs=self.couriers.statuses(self.health.sequence),
                bundles=self.recipes.statuses() if self.recipes else (),
                challengers=self._challengers(),
                selftest=self.selftest,
                disk_bytes=self.pictures.kept_bytes + self.pictures.record_bytes,
            )
        )

    def begin_shadow(
        self, config: StationConfig, recipes: Recipes, outputs: Sequence[Output]
    ) -> Shadow:
        """Make what scores with the challengers of recipes; the outputs that hear of it do."""
        self.hearers = [output for output in outputs if isinstance(output, Hearer)]
        self.recipes = recipes
        self.shadow = Shadow(config, partial(_tell_scored, recipes, self.hearers))
        return self.shadow

    def _challengers(self) -> tuple[ChallengerStatus, ...]:
        if self.recipes is None or self.shadow is None:
            return ()
        offered = self.recipes.challengers()
        self.shadow.keep(offered.values())
        return tuple(
            ChallengerStatus(
                name=name,
                bundle_id=bundle_id,
                lost=self.shadow.lost(bundle_id),
                unheard=sum(hearer.unheard(bundle_id) for hearer in self.hearers),
            )
            for name, bundle_id in offered.items()
        )


def selftest_of(config: StationConfig, recipes: Recipes) -> SelftestRecord:
    """Make the start-of-shift check of every bundle that judges."""
    bundles = {name: now.bundle for name, now in recipes.in_force().items()}
    record = selftest(recipes.examined(bundles), config.guards)
    notes = (*record.notes, *unkept(config, recipes.of))
    return record.model_copy(update={"notes": notes})


def require_selftest(config: StationConfig, recipes: Recipes) -> SelftestRecord:
    """Make the start-of-shift check and keep its record, if the disk takes it.

    Raises:
        BundleError: it did not pass, so no part may be released.
    """
    record = selftest_of(config, recipes)
    for note in record.notes:
        logger.warning("start-of-shift check", extra={"note": note})
    try:
        write_record(config.data_dir / SELFTEST_FILE, record)
    except InspectionError as error:
        logger.warning("record of the self-test not kept", extra={"reason": str(error)})
    if not record.passed:
        raise BundleError("; ".join(map(str, record.failed)))
    return record


def _drop(spool: Spool, health: Health, name: str) -> None:
    spool.count(name)
    health.drop(name)


def _signal(hears: Sequence[Callable[[Event], None]], event: Event) -> None:
    for hear in hears:
        hear(event)


def _tell_scored(recipes: Recipes, hearers: Sequence[Hearer], scored: Scored) -> None:
    recipes.lasted(scored.said.bundle_id)
    for hearer in hearers:
        hearer.hear(scored)


def _ended(couriers: Couriers, beside: Sequence[Task], bringing: Task) -> bool:
    """Say whether no part will come any more; raise what one of the threads ended by."""
    couriers.require()
    for task in beside:
        task.over()
    return bringing.over()
