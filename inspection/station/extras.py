"""Names the extra that brings a library which the plain install lacks."""

from collections.abc import Iterator
from contextlib import contextmanager

from inspection.core.errors import ConfigError

EXTRA = 'pip install "inspection[station]"'


@contextmanager
def with_extra(what: str) -> Iterator[None]:
    """Import what needs a library beyond the plain install.

    Args:
        what: the part of the configuration that needs it; stands in the error.

    Raises:
        ConfigError: the library is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed; {what} needs it: {EXTRA}") from error
