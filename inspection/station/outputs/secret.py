"""Reads passwords and tokens from their files."""

from pathlib import Path

from inspection.core.limits import MAX_TEXT_BYTES, read_file
from inspection.station.outputs.output import OutputDown


def read_secret(path: Path) -> str:
    """Give the first line of a file; read anew for each connection, so that it may change.

    Raises:
        OutputDown: it cannot be read, or its first line is empty.
    """
    try:
        text = read_file(path, MAX_TEXT_BYTES, follow=True).decode("utf-8-sig")  # some editors mark
        lines = text.split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise OutputDown(
            f"{path}: cannot be read ({error}); wanted a password or token on its first line"
        ) from error
    if not lines or not lines[0].strip():
        raise OutputDown(f"{path}: first line is empty; wanted a password or token there")
    return lines[0].strip()


def read_token(path: Path) -> str:
    """Give the bearer token on the first line of a file.

    Raises:
        OutputDown: as for `read_secret`, or no HTTP header can carry it.
    """
    token = read_secret(path)
    if not token.isascii():
        raise OutputDown(f"{path}: has other letters than ASCII; wanted a token")
    return token
