"""Keeps pictures, masks and files of bundles under names of ours, on any fsspec URL.

A name is made here, of a hash or a bundle's id, never taken from a client.
"""

import contextlib
import os
import uuid
from collections.abc import Iterator
from typing import Any

import fsspec

from inspection.core.errors import ConfigError, HubError

PIECE_BYTES = 1 << 20


class Artefacts:
    """A folder of immutable files, local or not; for several threads and hubs at once.

    Args:
        url: folder, or any fsspec URL.
    """

    def __init__(self, url: str) -> None:
        try:
            self._files, self._root = fsspec.core.url_to_fs(url, auto_mkdir=True)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"artefacts: '{url}' cannot be opened ({error})") from error
        self._local = "file" in self._files.protocol

    def put(self, name: str, content: bytes) -> None:
        """Keep bytes under a name, durably and whole; what has that name already stays.

        Raises:
            HubError: they cannot be written.
        """
        if not self.has(name):
            self.renew(name, content)

    def renew(self, name: str, content: bytes) -> None:
        """Keep bytes under a name, durably and whole, instead of what has that name.

        Raises:
            HubError: they cannot be written.
        """
        path = self._path(name)
        with _translated(name):
            partial = f"{path}.{uuid.uuid4().hex}.partial"
            with self._files.open(partial, "wb") as stream:
                stream.write(content)
                if self._local:
                    stream.flush()
                    os.fsync(stream.fileno())
            self._files.mv(partial, path)

    def get(self, name: str) -> bytes:
        """Give the bytes of a name.

        Raises:
            KeyError: there are none.
            HubError: they cannot be read.
        """
        with _translated(name):
            try:
                return bytes(self._files.cat_file(self._path(name)))
            except FileNotFoundError:
                raise KeyError(name) from None

    def pieces(self, name: str) -> Iterator[bytes]:
        """Give the bytes of a name, in pieces.

        Raises:
            HubError: they cannot be read.
        """
        with _translated(name), self._files.open(self._path(name), "rb") as stream:
            while piece := stream.read(PIECE_BYTES):
                yield piece

    def has(self, name: str) -> bool:
        """Say whether there is something of a name."""
        with _translated(name):
            return bool(self._files.exists(self._path(name)))

    def delete(self, name: str) -> None:
        """Delete a name; one that is not there is no error."""
        with _translated(name), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def names(self, folder: str) -> Iterator[tuple[str, Any]]:
        """Give each name below a folder with what fsspec knows of it."""
        with _translated(folder):
            found = self._files.find(self._path(folder), detail=True)
        for path, info in found.items():
            yield path.removeprefix(self._root).lstrip("/"), info

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


def picture_name(sha256: str) -> str:
    """Give the name of a picture or mask by its hash."""
    return f"pictures/{sha256[:2]}/{sha256}"


def bundle_file_name(bundle_id: str, path: str) -> str:
    """Give the name of a bundle's file; `path` stands in the bundle's own list of files."""
    return f"bundles/{bundle_id}/{path}"


@contextlib.contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HubError(
            f"artefact {name}: {error.strerror or error}; look at the place of `artefacts`"
        ) from error
