"""Makes the source, the outputs and the web address a configuration names.

A module that needs a library beyond the plain install is imported only when its kind is asked for.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from inspection.core.records import Event
from inspection.station.clock import Clock
from inspection.station.extras import with_extra
from inspection.station.outputs.output import Output
from inspection.station.outputs.settings import (
    CsvSettings,
    HubSettings,
    ModbusSettings,
    MqttSettings,
    OpcuaSettings,
    StdoutSettings,
    WebhookSettings,
)
from inspection.station.settings import StationConfig
from inspection.station.sources.folder import FolderSource
from inspection.station.sources.settings import (
    CamerasSettings,
    FolderSettings,
    IntervalTrigger,
    PushSettings,
)
from inspection.station.sources.source import Source
from inspection.station.sources.trigger import IntervalTriggers, Triggers
from inspection.station.spool import Spool, SpoolReader
from inspection.station.state import StationStatus

if TYPE_CHECKING:
    from inspection.station.web.server import WebServer

PicturesOf = Callable[[Event], list[Path] | None]


def make_outputs(
    config: StationConfig,
    pictures_of: PicturesOf,
    count: Callable[[str], None] = lambda _name: None,
) -> list[Output]:
    """Make every configured output, not connected yet; `count` hears of what one refused.

    Raises:
        ConfigError: its library is not installed, or its settings cannot be used.
    """
    outputs = []
    for output in config.outputs:
        with with_extra(f"output {output.kind}"):
            outputs.append(_make_output(output, config, pictures_of, count))
    return outputs


def _make_output(  # noqa: C901, PLR0911 - one case per kind
    settings: object, config: StationConfig, pictures_of: PicturesOf, count: Callable[[str], None]
) -> Output:
    actions, beat_s = config.actions, config.heartbeat_ms / 1000
    match settings:
        case StdoutSettings():
            from inspection.station.outputs.stdout import StdoutOutput

            return StdoutOutput(settings)
        case CsvSettings():
            from inspection.station.outputs.csv import CsvOutput

            return CsvOutput(settings, actions)
        case MqttSettings(sparkplug=True):
            from inspection.station.outputs.sparkplug import SparkplugOutput

            return SparkplugOutput(settings, config.line, config.station, actions)
        case MqttSettings():
            from inspection.station.outputs.mqtt import MqttOutput

            return MqttOutput(settings, config.line, config.station, actions)
        case WebhookSettings():
            from inspection.station.outputs.webhook import WebhookOutput

            return WebhookOutput(settings, actions, count)
        case HubSettings():
            from inspection.station.outputs.hub import HubOutput

            return HubOutput(settings, config.line, config.station, actions, pictures_of, count)
        case ModbusSettings():
            from inspection.station.outputs.modbus import ModbusOutput

            return ModbusOutput(
                settings, actions, heartbeat_s=beat_s, triggered=_is_triggered(config)
            )
        case OpcuaSettings():
            from inspection.station.outputs.opcua import OpcuaOutput

            return OpcuaOutput(settings, actions, heartbeat_s=beat_s)
    raise AssertionError(f"no output for {type(settings).__name__}")


def _is_triggered(config: StationConfig) -> bool:
    source = config.source
    return isinstance(source, CamerasSettings) and source.trigger.kind == "modbus"


def make_source(
    config: StationConfig,
    outputs: list[Output],
    clock: Clock,
    spool: Spool | None = None,
) -> Source:
    """Make the configured source, not running yet.

    Args:
        config: the station's configuration.
        outputs: of which one may bring triggers.
        clock: for the times of parts.
        spool: the station's record, which event ids belong to; without it none are kept apart.

    Raises:
        StationError: it cannot begin, for instance no such folder with `once`.
        ConfigError: its library is not installed.
    """
    with with_extra(f"source {config.source.kind}"):
        return _make_source(config, outputs, clock, spool)


def _make_source(
    config: StationConfig,
    outputs: list[Output],
    clock: Clock,
    spool: Spool | None,
) -> Source:
    settings, record = config.source, spool.record_id if spool else ""
    deadline_s = config.deadline_ms / 1000

    def cameras_of(product: str) -> tuple[str, ...]:
        return tuple(config.recipes.get(product, ()))

    def recorded() -> SpoolReader:
        return SpoolReader(config.data_dir)

    match settings:
        case FolderSettings():
            return FolderSource(settings, cameras_of, recorded, clock, record, deadline_s)
        case CamerasSettings():
            from inspection.station.sources.cameras import CamerasSource

            return CamerasSource(
                settings,
                _triggers(config, settings, outputs, clock),
                clock,
                deadline_s=deadline_s,
                frames=config.frames,
                record=record,
                note=spool.note if spool else None,
            )
        case PushSettings():
            from inspection.station.sources.push import PushSource

            return PushSource(
                settings,
                config.actions,
                find_in(config.data_dir),
                cameras_of,
                frames=config.frames,
                record=record,
                deadline_s=deadline_s,
            )


def find_in(data_dir: Path) -> Callable[[str], Event | None]:
    """Give a function for any thread that finds an event of the record by its event_id."""

    def find(event_id: str) -> Event | None:
        with SpoolReader(data_dir) as record:
            return record.find(event_id)

    return find


def _triggers(
    config: StationConfig, settings: CamerasSettings, outputs: list[Output], clock: Clock
) -> Triggers:
    if isinstance(settings.trigger, IntervalTrigger):
        every_ms = settings.trigger.every_ms
        return IntervalTriggers(every_ms, settings.product, clock, config.frames)
    from inspection.station.outputs.modbus import ModbusOutput

    triggers = next(output.triggers for output in outputs if isinstance(output, ModbusOutput))
    triggers.frames = config.frames.count if config.frames else 1
    return triggers


def make_web(
    config: StationConfig, status: Callable[[], StationStatus], source: Source
) -> "WebServer | None":
    """Make the station's web address, not listening yet; none where it has none.

    Raises:
        ConfigError: its library is not installed.
    """
    if config.web is None:
        return None
    with with_extra("`web`"):
        from inspection.station.sources.push import PushSource
        from inspection.station.web.server import WebServer

    push = source if isinstance(source, PushSource) else None
    return WebServer(config.web, config, status, push)
