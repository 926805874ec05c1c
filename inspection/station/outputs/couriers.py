"""All outputs of a station together: each with its courier and its place in the outbox."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from inspection.core.records import Event
from inspection.station.outputs.courier import Courier
from inspection.station.outputs.output import Output
from inspection.station.spool import Spool, SpoolReader
from inspection.station.state import OutputStatus, StationStatus


class Couriers:
    """The couriers of a station; they run from entering to leaving."""

    def __init__(self, outputs: Sequence[Output], spool: Spool) -> None:
        """Prepare a courier for each output, from where it stands in the outbox."""
        self._spool, folder = spool, spool.path.parent
        places, newest = spool.delivered(), spool.last_sequence()
        for output in outputs:
            if output.name not in places and not output.from_start:
                places[output.name] = newest
                # durable with the next event, in its transaction: a kill before it skips nothing
                spool.acknowledge(output.name, places[output.name])
        self._couriers = [
            Courier(
                output,
                lambda: SpoolReader(folder),
                places.get(output.name, 0),
                spool.acknowledge,
                newest=newest,
            )
            for output in outputs
        ]

    def __enter__(self) -> Self:
        """Start all."""
        for courier in self._couriers:
            courier.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop all, and make their places durable."""
        for courier in self._couriers:
            courier.stop()
        self._spool.flush()

    def publish(self, event: Event) -> None:
        """Tell all of an event that is durable now; never waits."""
        for courier in self._couriers:
            courier.publish(event)

    def beat(self, status: StationStatus) -> None:
        """Pass a heartbeat on to all."""
        for courier in self._couriers:
            courier.beat(status)

    def statuses(self, last_sequence: int) -> tuple[OutputStatus, ...]:
        """Say how each stands, the record ending with `last_sequence`."""
        return tuple(courier.status(last_sequence) for courier in self._couriers)

    def require(self) -> None:
        """Do nothing while every output may come back.

        Raises:
            OutputGone: one never will.
        """
        for courier in self._couriers:
            if courier.failed is not None:
                raise courier.failed

    def drain(self, until_sequence: int, timeout_s: float) -> None:
        """Wait until all that are up have everything up to a sequence, or for `timeout_s` each."""
        for courier in self._couriers:
            if courier.status(until_sequence).up:
                courier.drain(until_sequence, timeout_s)
