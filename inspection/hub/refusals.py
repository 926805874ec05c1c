"""Why the hub says no to a request, where HTTP has a status of its own for the reason."""

from inspection.core.errors import ConfigError, HubError


class NotThere(ConfigError):
    """What a request names does not exist; status 404."""


class Standing(ConfigError):
    """What stands there forbids it: a name that is taken, the last admin; status 409."""


class Foreign(ConfigError):
    """It is another station's; status 403."""


class TooLarge(ConfigError):
    """It has more pixels than the hub takes; status 413."""


class NoPicture(ConfigError):
    """Its bytes are no picture of a kind the hub takes; status 415."""


class LeaseLost(HubError):
    """A worker writes to a job that another has taken over, or that has ended; no status."""
