"""Sets up the log of a command: one line per event on stderr, third parties from WARNING on.

What third parties say in every run and nobody can act on is named here and left out, each by its
own words; all other warnings are shown.
"""

import json
import logging
import sys
import time
import warnings
from collections import Counter
from datetime import UTC, datetime

# (logger, how the message begins): why it says nothing
SILENCED = (
    ("timm.models._builder", "Unexpected keys"),  # a feature extractor has no classifier
    ("torch.utils.cpp_extension", "No CUDA runtime is found"),  # there is none, it is not needed
)
# (how the message begins, category)
IGNORED: tuple[tuple[str, type[Warning]], ...] = (
    # inside the libraries' own imports and calls: for their authors
    (r"Importing from timm\.models\.layers is deprecated", FutureWarning),
    (r"The anomalib\.models\.components\.dinov2 package is deprecated", FutureWarning),
    (r"`torch\.jit\.trace(_method)?` is deprecated", FutureWarning),
    (r"`isinstance\(treespec, LeafSpec\)` is deprecated", Warning),
    # PatchCore collects features and optimises nothing, in eval mode, as it is meant to
    (r"`LightningModule\.configure_optimizers` returned `None`", UserWarning),
    (r"Found \d+ module\(s\) in eval mode at the start of training", UserWarning),
)

# Loggers of what anybody who reaches a port can have written, as often as he likes.
DRIVEN_FROM_OUTSIDE = (
    *("asyncio", "uvicorn.error", "inspection.core.connections", "inspection.hub.limits"),
    *("inspection.hub.api.people", "inspection.hub.api.access", "inspection.hub.oidc"),
)
LINES, MINUTE_S = 60, 60.0


class _WithFields(logging.Formatter):
    """Sets the fields of an event behind its words."""

    KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}

    def format(self, record: logging.LogRecord) -> str:
        """Give one line: time, level, logger, words, then name=value of every further field."""
        fields = {key: value for key, value in vars(record).items() if key not in self.KNOWN}
        return " ".join((super().format(record), *(f"{k}={v!r}" for k, v in fields.items())))


class _AsJson(_WithFields):
    """Sets an event and its fields as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Give one line of JSON."""
        fields = {key: value for key, value in vars(record).items() if key not in self.KNOWN}
        at = datetime.fromtimestamp(record.created, UTC).isoformat()
        event = {"at": at, "level": record.levelname, "logger": record.name}
        event["message"] = record.getMessage()
        if record.exc_info:
            event["trace"] = self.formatException(record.exc_info)
        return json.dumps(event | fields, default=str)


class _Without(logging.Filter):
    """Leaves out messages that begin with given words."""

    def __init__(self, beginning: str) -> None:
        super().__init__()
        self.beginning = beginning

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the message is shown."""
        return not record.getMessage().startswith(self.beginning)


class _Throttle(logging.Filter):
    """Lets some lines of one kind a minute through; `left_out` of a later one counts the others.

    What a caller does whom the hub knows (`actor`) is shown always.
    """

    def __init__(self) -> None:
        super().__init__()
        self._until_s = 0.0
        self._shown: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the message is shown."""
        if getattr(record, "actor", None) is not None:
            return True
        now, kind = time.monotonic(), str(record.msg).partition("\n")[0]
        if now >= self._until_s:
            self._until_s = now + MINUTE_S
            self._shown.clear()
        self._shown[kind] += 1
        if self._shown[kind] > LINES:
            self._left_out[kind] += 1
            return False
        if left_out := self._left_out.pop(kind, 0):
            record.left_out = left_out
        return True


def configure_logging(*, debug: bool = False, as_json: bool = False) -> None:
    """Send our log to stderr from INFO on, everything of ours with `debug`."""
    handler = logging.StreamHandler(sys.stderr)
    words = _WithFields("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(_AsJson() if as_json else words)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("inspection").setLevel(logging.DEBUG if debug else logging.INFO)
    for name, beginning in SILENCED:
        logging.getLogger(name).addFilter(_Without(beginning))
    for name in DRIVEN_FROM_OUTSIDE:
        logging.getLogger(name).filters[:] = [_Throttle()]  # one, however often this is called
    for message, category in IGNORED:
        warnings.filterwarnings("ignore", message=message, category=category)
