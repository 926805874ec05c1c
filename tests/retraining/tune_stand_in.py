"""What stands in for the making of a candidate, in a process of its own."""

import os
import signal


def die(*_: object) -> None:
    """End this process as the system does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def break_down(*_: object) -> None:
    """Raise what no code of ours does."""
    raise RuntimeError("no such kernel")
