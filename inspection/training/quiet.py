"""Makes libraries that train behave as our users expect of any command."""

import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Libraries whose advice to developers is none to our users.
NOISY = r"(lightning|anomalib|timm|torch|torchvision|einops|FrEIA|sklearn|transformers)\b"


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence what libraries tell developers: missing workers, loggers, deprecated tracing."""
    with warnings.catch_warnings():
        for kind in (UserWarning, FutureWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", category=kind, module=NOISY)
        yield


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C be Ctrl-C: Lightning turns it into exit code 1 and goes deaf for the next one."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
