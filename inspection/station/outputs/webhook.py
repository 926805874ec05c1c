"""Posts each event as JSON to an HTTP address, with its event_id as Idempotency-Key.

Any 2xx acknowledges the event. 409 says that the receiver has another event under its key: it is
final, counted as `refused by NAME`, and the next event goes on. Everything else is tried again,
with growing pauses; the status page shows the receiver's answer until somebody mends it.
"""

import logging
from collections.abc import Callable, Sequence

import httpx

from inspection.core.records import Event
from inspection.station.outputs.endpoint import Endpoint, Refused
from inspection.station.outputs.message import event_message
from inspection.station.outputs.output import refused_by
from inspection.station.outputs.settings import ActionSettings, WebhookSettings
from inspection.station.state import StationStatus

logger = logging.getLogger(__name__)


class WebhookOutput:
    """One HTTP address; one request per event, in order, the next after the answer.

    The address is reached with the first event, not by `connect`.
    """

    batch = 1
    from_start = True

    def __init__(
        self,
        settings: WebhookSettings,
        actions: ActionSettings,
        count: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self.name, self._count = settings.name, count
        self._actions = actions
        self._endpoint = Endpoint(settings.url, settings.token_file, settings.timeout_ms)

    def connect(self) -> None:
        """Begin with a new connection and the token as it is now.

        Raises:
            OutputDown: the token cannot be read.
        """
        self._endpoint.open()

    def deliver(self, events: Sequence[Event]) -> int:
        """Post the first event and wait for the answer.

        Raises:
            OutputDown: no answer in time, or any status but 2xx and 409.
        """
        headers = {"Content-Type": "application/json", "Idempotency-Key": events[0].event_id}
        try:
            self._endpoint.send("POST", "", event_message(events[0], self._actions), headers)
        except Refused as error:
            if error.status != httpx.codes.CONFLICT:
                raise
            self._count(refused_by(self.name))
            fields = {"output": self.name, "sequence": events[0].sequence, "reason": str(error)}
            logger.exception("event refused for good", extra=fields)
        return 1

    def beat(self, status: StationStatus) -> None:
        """Do nothing: the receiver gets events only."""

    def close(self) -> None:
        """Let the connection go."""
        self._endpoint.close()
