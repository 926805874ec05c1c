"""Fetching: resumed, checked, safely unpacked; against a server on the loopback address."""

import hashlib
import io
import re
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from inspection.core.errors import DatasetError, InspectionError
from inspection.data.archive import extract_folders
from inspection.data.check import check_dataset
from inspection.data.fetch import SOURCES, fetch_category, find_source

FILES = {
    "bottle/train/good/000.png": b"good",
    "bottle/test/broken/000.png": b"broken",
    "cable/train/good/000.png": b"cable",
    "license.txt": b"licence",
}
NOISE = np.random.default_rng(0).bytes(300_000)  # so that a cut falls within the archive


def _tar(files, mode="w:xz"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _zip(files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return stream.getvalue()


class _Server(ThreadingHTTPServer):
    """Serves one body by ranges; can cut the first answers short, and says what it was asked."""

    daemon_threads = True

    def __init__(self, body, cut_at, etag):
        super().__init__(("127.0.0.1", 0), _Answer)
        self.body, self.cuts, self.etag = body, list(cut_at), etag
        self.asked = []
        self.status = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        if server.status is not None:
            self.send_error(server.status)
            return
        body, first = server.body, 0
        if wanted and self.headers.get("If-Range", server.etag) == server.etag:
            first = int(re.fullmatch(r"bytes=(\d+)-", wanted).group(1))
        if first >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - first))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        end = first + server.cuts.pop(0) if server.cuts else len(body)
        self.wfile.write(body[first:end])
        self.close_connection = True

    def log_message(self, format, *args):  # noqa: A002 - the library's name
        """Say nothing."""


@contextmanager
def _serving(body, *, cut_at=(), etag='"one"'):
    server = _Server(body, cut_at, etag)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def body():
    """An archive of two categories, long enough to be cut."""
    return _tar({**FILES, "bottle/test/noise.bin": NOISE})


@pytest.fixture
def source(body):
    """MVTec's own entry with the hash of the test's archive."""
    return replace(SOURCES["mvtec"], sha256=hashlib.sha256(body).hexdigest())


ARCHIVE = "mvtec_anomaly_detection.tar.xz"


def _names(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_category_is_fetched_checked_and_unpacked(tmp_path, source, body):
    """Only the wanted category is unpacked; the archive and its hash stay beside it."""
    with _serving(body) as server:
        got = fetch_category(source, "bottle", tmp_path, base_url=server.url)
        assert server.asked == [None]
    assert got == tmp_path / "bottle"
    assert (got / "train/good/000.png").read_bytes() == b"good"
    assert _names(tmp_path) == [
        "bottle/test/broken/000.png",
        "bottle/test/noise.bin",
        "bottle/train/good/000.png",
        ARCHIVE,
        f"{ARCHIVE}.sha256",
    ]
    assert (tmp_path / f"{ARCHIVE}.sha256").read_text() == f"{source.sha256}  {ARCHIVE}\n"


def test_next_category_needs_no_download(tmp_path, source, body):
    """The archive on disk is verified and used again."""
    with _serving(body) as server:
        fetch_category(source, "bottle", tmp_path, base_url=server.url)
        fetch_category(source, "cable", tmp_path, base_url=server.url)
        assert server.asked == [None]
    assert (tmp_path / "cable/train/good/000.png").read_bytes() == b"cable"


def test_cut_connection_goes_on_where_it_stopped(tmp_path, source, body):
    """After a cut the bytes are kept, the message says so, and the next try asks for the rest."""
    with _serving(body, cut_at=[100_000, 50_000]) as server:
        for kept in ("100,000", "150,000"):
            with pytest.raises(DatasetError, match=rf"connection failed .*; {kept} bytes are kept"):
                fetch_category(source, "bottle", tmp_path, base_url=server.url)
            assert _names(tmp_path) == [f"{ARCHIVE}.partial", f"{ARCHIVE}.partial.stamp"]
        fetch_category(source, "bottle", tmp_path, base_url=server.url)
        assert server.asked == [None, "bytes=100000-", "bytes=150000-"]
    assert (tmp_path / "bottle/test/noise.bin").read_bytes() == NOISE
    assert not list(tmp_path.glob("*.partial*"))


def test_file_that_changed_meanwhile_is_fetched_anew(tmp_path, source, body):
    """Halves of two versions are never joined: another ETag starts from the beginning."""
    older = bytes(len(body))
    with _serving(older, cut_at=[100_000], etag='"old"') as server:
        with pytest.raises(DatasetError, match="connection failed"):
            fetch_category(source, "bottle", tmp_path, base_url=server.url)
        server.body, server.etag = body, '"new"'
        fetch_category(source, "bottle", tmp_path, base_url=server.url)
        assert server.asked == [None, "bytes=100000-"]


def test_download_that_was_complete_needs_no_byte_more(tmp_path, source, body):
    """A process killed between the last byte and the rename loses nothing."""
    (tmp_path / f"{ARCHIVE}.partial").write_bytes(body)
    with _serving(body) as server:
        fetch_category(source, "bottle", tmp_path, base_url=server.url)
        assert server.asked == [f"bytes={len(body)}-"]


def test_partial_of_unknown_origin_is_not_continued_without_a_hash(tmp_path, source, body):
    """Without a known hash and without a stamp nothing proves that the halves belong together."""
    (tmp_path / f"{ARCHIVE}.partial").write_bytes(b"something else")
    unknown = replace(source, sha256=None)
    with _serving(body) as server:
        fetch_category(unknown, "bottle", tmp_path, base_url=server.url)
        assert server.asked == [None]


def test_wrong_checksum_is_refused_and_nothing_is_left(tmp_path, source, body):
    """Bytes of another hash are removed: neither archive nor folder remains."""
    wrong = "0" * 64
    refused = pytest.raises(DatasetError, match=rf"wanted {wrong}; remove it and fetch again")
    with _serving(body) as server, refused:
        fetch_category(source, "bottle", tmp_path, base_url=server.url, sha256=wrong)
    assert _names(tmp_path) == []


def test_unknown_hash_is_recorded_and_verified_next_time(tmp_path, source, body):
    """Where nobody published a hash, the first one found is held against the next run."""
    unknown = replace(source, sha256=None)
    with _serving(body) as server:
        fetch_category(unknown, "bottle", tmp_path, base_url=server.url)
        archive = tmp_path / ARCHIVE
        archive.write_bytes(archive.read_bytes() + b"x")
        with pytest.raises(DatasetError, match=f"wanted {source.sha256}; remove it"):
            fetch_category(unknown, "cable", tmp_path, base_url=server.url)
        assert server.asked == [None]
    assert not (tmp_path / "cable").exists()


def test_existing_category_is_not_touched(tmp_path, source, body):
    """What was fetched, or drawn into, is never overwritten, and nothing is downloaded for it."""
    (tmp_path / "bottle").mkdir()
    (tmp_path / "bottle/mine.png").write_bytes(b"mine")
    with _serving(body) as server:
        with pytest.raises(InspectionError, match="bottle: exists already"):
            fetch_category(source, "bottle", tmp_path, base_url=server.url)
        assert server.asked == []


@pytest.mark.parametrize("status", [404, 403, 503])
def test_refusing_server_is_named_and_the_partial_stays(tmp_path, source, body, status):
    """A server's no says its number, and takes nothing of what was fetched before."""
    with _serving(body, cut_at=[1000]) as server:
        with pytest.raises(DatasetError, match="1,000 bytes are kept"):
            fetch_category(source, "bottle", tmp_path, base_url=server.url)
        server.status = status
        with pytest.raises(DatasetError, match=f"server answered {status}; wanted the file"):
            fetch_category(source, "bottle", tmp_path, base_url=server.url)
    assert (tmp_path / f"{ARCHIVE}.partial").read_bytes() == body[:1000]


def test_no_connection_says_what_to_do(tmp_path, source, body):
    """Without internet the command says so in one line."""
    with _serving(body) as server:
        url = server.url
    with pytest.raises(DatasetError, match=r"connection failed .*run the command again"):
        fetch_category(source, "bottle", tmp_path, base_url=url)


def test_unknown_source_or_category_is_refused(tmp_path):
    """A misspelt name lists those that are known."""
    with pytest.raises(DatasetError, match=r"source 'mvtek': unknown; wanted one of mvtec, visa"):
        find_source("mvtek", "bottle")
    with pytest.raises(DatasetError, match=r"MVTec AD: no category 'botle'; wanted one of bottle"):
        find_source("mvtec", "botle")


def test_archive_without_the_category_is_refused(tmp_path, source):
    """An archive of other content gives no empty set."""
    body = _tar({"readme.txt": b"nothing"})
    known = replace(source, sha256=hashlib.sha256(body).hexdigest())
    with _serving(body) as server, pytest.raises(DatasetError, match="holds no 'bottle'"):
        fetch_category(known, "bottle", tmp_path, base_url=server.url)
    assert not (tmp_path / "bottle").exists()


def test_visa_and_btad_arrive_as_their_readers_want_them(tmp_path):
    """VisA brings its split table and licence, BTAD comes out of its inner folder."""
    picture = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)).save(
        picture, "PNG"
    )
    rows = "object,split,label,image,mask\ncandle,train,normal,candle/Data/Images/Normal/0.JPG,\n"
    visa = _tar(
        {
            "candle/Data/Images/Normal/0.JPG": picture.getvalue(),
            "split_csv/1cls.csv": rows.encode(),
            "LICENSE-DATASET": b"terms",
        },
        "w",
    )
    btad = _zip({"BTech_Dataset_transformed/01/train/ok/0.bmp": picture.getvalue()})
    for name, category, body in (("visa", "candle", visa), ("btad", "01", btad)):
        known = replace(SOURCES[name], sha256=hashlib.sha256(body).hexdigest())
        with _serving(body) as server:
            root = fetch_category(known, category, tmp_path, base_url=server.url)
        report = check_dataset(root)
        assert (report.manifest.layout, len(report.manifest.entries)) == (name, 1)
    assert (tmp_path / "candle/LICENSE-DATASET").read_bytes() == b"terms"


def _linked(kind):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        info = tarfile.TarInfo("bottle/train/good/000.png")
        info.type, info.linkname = kind, "/etc/hostname"
        tar.addfile(info)
    return stream.getvalue()


def _linked_zip():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        info = zipfile.ZipInfo("bottle/000.png")
        info.external_attr = 0o120777 << 16
        packed.writestr(info, "/etc/hostname")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        pytest.param("tar", _tar({"bottle/../../evil": b"x"}), "leaves the target", id="tar dots"),
        pytest.param("tar", _tar({"/evil": b"x"}), "leaves the target", id="tar absolute"),
        pytest.param("zip", _zip({"bottle/../../evil": b"x"}), "leaves the target", id="zip dots"),
        pytest.param("zip", _zip({"/evil": b"x"}), "leaves the target", id="zip absolute"),
        pytest.param("zip", _zip({"C:evil": b"x"}), "leaves the target", id="zip drive"),
        pytest.param("tar", _tar({"..\\evil": b"x"}), "leaves the target", id="tar backslash"),
        pytest.param("tar", _linked(tarfile.SYMTYPE), "is a link or a device", id="symbolic link"),
        pytest.param("tar", _linked(tarfile.LNKTYPE), "is a link or a device", id="hard link"),
        pytest.param("tar", _linked(tarfile.FIFOTYPE), "is a link or a device", id="pipe"),
        pytest.param("zip", _linked_zip(), "is a link or a device", id="zip link"),
        pytest.param(
            "tar", _tar({"bottle/a": bytes(3000)}), "more than 2,000 bytes", id="tar bomb"
        ),
        pytest.param(
            "zip", _zip({"bottle/a": bytes(3000)}), "more than 2,000 bytes", id="zip bomb"
        ),
        pytest.param("tar", _tar(FILES)[:-200], "damaged archive", id="cut tar"),
        pytest.param("zip", _zip(FILES)[:-30], "damaged archive", id="cut zip"),
        pytest.param("tar", b"no archive at all" * 99, "damaged archive", id="no archive"),
    ],
)
@pytest.mark.fast
def test_unsafe_or_damaged_archive_is_refused(tmp_path, kind, body, message):
    """Nothing is written outside the target, whatever an archive says."""
    archive, out = tmp_path / "archive", tmp_path / "deep/er/out"
    archive.write_bytes(body)
    out.mkdir(parents=True)
    with pytest.raises(DatasetError, match=message):
        extract_folders(archive, kind, {"bottle": ""}, out, bytes_limit=2000)
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and out not in path.parents]
    assert outside == [archive]
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_unsafe_archive_leaves_no_category(tmp_path, source):
    """A traversal anywhere in the archive refuses the whole fetch."""
    body = _tar({**FILES, "../evil": b"x"})
    known = replace(source, sha256=hashlib.sha256(body).hexdigest())
    inside = tmp_path / "inside"
    with (
        _serving(body) as server,
        pytest.raises(DatasetError, match=r"'../evil' leaves the target"),
    ):
        fetch_category(known, "bottle", inside, base_url=server.url)
    assert _names(tmp_path) == [f"inside/{ARCHIVE}", f"inside/{ARCHIVE}.sha256"]


@pytest.mark.fast
def test_member_that_stands_twice_is_refused(tmp_path):
    """No later member replaces an earlier one."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for content in (b"first", b"later"):
            info = tarfile.TarInfo("bottle/a")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    archive = tmp_path / "archive"
    archive.write_bytes(stream.getvalue())
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(DatasetError, match="twice; wanted each file once"):
        extract_folders(archive, "tar", {"bottle": ""}, out)


@pytest.mark.fast
@pytest.mark.parametrize("name", SOURCES)
def test_every_source_says_its_licence_and_where_it_lies(name):
    """Title, homepage and licence stand in the table; a hash is a sha256 or absent."""
    source = SOURCES[name]
    assert "Creative Commons" in source.licence
    assert source.homepage.startswith("https://")
    assert source.host.startswith("https://")
    assert not source.host.endswith("/")
    assert source.path.startswith("/")
    assert source.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", source.sha256)
    assert len(set(source.categories)) == len(source.categories)
