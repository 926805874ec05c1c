"""Runs a station as a process: puts it together, starts its threads, ends them in order."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial

from inspection.core.errors import BundleError
from inspection.core.records import Event, write_record
from inspection.station.clock import SYSTEM_CLOCK
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
from inspection.station.sources.source import Source
from inspection.station.spool import Spool
from inspection.station.state import StationState, StationStatus
from inspection.station.stopping import stop_on_signals
from inspection.station.tasks import Task, running
from inspection.station.wiring import make_outputs, make_source, make_web

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
    with stop_on_signals() as stop, Spool(config.data_dir) as spool, ExitStack() as stack:
        recipes = open_recipes(config, clock)
        require_selftest(config, recipes)
        health = Health(config, spool.counters(), spool.latest(1), clock)
        budget_bytes, drop = config.spool.budget_mb * MB, partial(_drop, spool, health)
        pictures = stack.enter_context(closing(Pictures(config.data_dir, budget_bytes, drop)))
        every = [*make_outputs(config, pictures.of), *outputs]
        brings = source or make_source(config, every, clock)
        couriers = stack.enter_context(Couriers(every, spool))
        intake = Intake(config.queue_parts)

        def look() -> StationStatus:
            disk_bytes = pictures.kept_bytes + pictures.record_bytes
            ends = couriers.statuses(health.sequence)
            state = intake.source_state
            return health.beat(
                Surroundings(len(intake), state, ends, recipes.statuses(), disk_bytes)
            )

        heart = Heart(config.data_dir, config.heartbeat_ms / 1000, health, look, couriers.beat)
        hears = [couriers.publish]
        if (web := make_web(config, lambda: heart.status, brings)) is not None:
            hears.append(stack.enter_context(web).observe)
        line = Line(config, recipes, spool, pictures, health, partial(_signal, hears), clock)
        beside = [
            stack.enter_context(running("heart", heart.run)),
            stack.enter_context(running("updates", BundleUpdates(config, recipes).run)),
            stack.enter_context(running("thresholds", ThresholdUpdates(config, recipes).run)),
        ]
        health.turn(StationState.READY)
        try:
            with running("source", partial(brings.run, intake), stop) as bringing:
                line.run(intake, stop, partial(_ended, couriers, beside, bringing))
        finally:
            health.turn(StationState.STOPPED, "the station ends")
        couriers.drain(health.sequence, DRAIN_S)
    return heart.status


def selftest_of(config: StationConfig, recipes: Recipes) -> SelftestRecord:
    """Make the start-of-shift check of every bundle that judges."""
    bundles = {name: now.bundle for name, now in recipes.in_force().items()}
    return selftest(recipes.examined(bundles), config.guards)


def require_selftest(config: StationConfig, recipes: Recipes) -> None:
    """Make the start-of-shift check and keep its record.

    Raises:
        BundleError: it did not pass, so no part may be released.
    """
    record = selftest_of(config, recipes)
    write_record(config.data_dir / SELFTEST_FILE, record)
    if not record.passed:
        raise BundleError("; ".join(map(str, record.failed)))


def _drop(spool: Spool, health: Health, name: str) -> None:
    spool.count(name)
    health.drop(name)


def _signal(hears: Sequence[Callable[[Event], None]], event: Event) -> None:
    for hear in hears:
        hear(event)


def _ended(couriers: Couriers, beside: Sequence[Task], bringing: Task) -> bool:
    """Say whether no part will come any more; raise what one of the threads ended by."""
    couriers.require()
    for task in beside:
        task.over()
    return bringing.over()
