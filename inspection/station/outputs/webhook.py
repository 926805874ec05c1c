"""Posts each event as JSON to an HTTP address, with its event_id as Idempotency-Key.

Any 2xx acknowledges the event. Everything else is tried again, with growing pauses – a refusal for
good (400, 401, 404, 422 …) too: to skip the event would lose it silently, so the line of events
waits, and the status page shows the receiver's answer until somebody mends the receiver. To give
up on a receiver, take the output out of the configuration; the events stay in the record.
"""

from collections.abc import Sequence

from inspection.core.records import Event
from inspection.station.outputs.endpoint import Endpoint
from inspection.station.outputs.message import event_message
from inspection.station.outputs.settings import ActionSettings, WebhookSettings
from inspection.station.state import StationStatus


class WebhookOutput:
    """One HTTP address; one request per event, in order, the next after the answer.

    The address is reached with the first event, not by `connect`.
    """

    batch = 1
    from_start = True

    def __init__(self, settings: WebhookSettings, actions: ActionSettings) -> None:
        self.name = settings.name
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
            OutputDown: no answer in time, or any status but 2xx.
        """
        headers = {"Content-Type": "application/json", "Idempotency-Key": events[0].event_id}
        self._endpoint.send("POST", "", event_message(events[0], self._actions), headers)
        return 1

    def beat(self, status: StationStatus) -> None:
        """Do nothing: the receiver gets events only."""

    def close(self) -> None:
        """Let the connection go."""
        self._endpoint.close()
