"""Keeps pictures, masks and files of bundles under names of ours, on any fsspec URL.

A name is made here, of a hash or a bundle's id, never taken from a client.
"""

import contextlib
import os
import uuid
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec

from inspection.core.errors import ConfigError, HubError

PIECE_BYTES = 1 << 20
SYNCS = 8  # files the disk is asked to make durable at once


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
        self._waits = ThreadPoolExecutor(SYNCS, "sync")

    def put(self, name: str, content: bytes) -> None:
        """Keep bytes under a name, durably and whole; what has that name already stays.

        Raises:
            HubError: they cannot be written.
        """
        self.put_all({name: content})

    def put_all(self, contents: Mapping[str, bytes]) -> None:
        """Keep several as `put` does, waiting for the disk for all of them together.

        Raises:
            HubError: one cannot be written; others may be.
        """
        self._write({name: content for name, content in contents.items() if not self.has(name)})

    def renew(self, name: str, content: bytes) -> None:
        """Keep bytes under a name, durably and whole, instead of what has that name.

        Raises:
            HubError: they cannot be written.
        """
        self._write({name: content})

    def _write(self, contents: Mapping[str, bytes]) -> None:
        """Write files beside those meant, then rename them: none is ever seen half written."""
        ending = f".{uuid.uuid4().hex}.partial"
        for name, content in contents.items():
            with _translated(name), self._files.open(self._path(name) + ending, "wb") as stream:
                stream.write(content)
        self._sync([name + ending for name in contents])
        for name in contents:
            with _translated(name):
                self._files.mv(self._path(name) + ending, self._path(name))
        self._sync({name.rpartition("/")[0] for name in contents})  # the new names, too

    def _sync(self, names: Collection[str]) -> None:
        """Wait until files or folders are durable, all at once: a disk then writes its log once."""
        if self._local and names:
            with _translated(min(names)):
                list(self._waits.map(_sync, map(self._path, names)))

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


def _sync(path: str) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextlib.contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HubError(
            f"artefact {name}: {error.strerror or error}; look at the place of `artefacts`"
        ) from error
