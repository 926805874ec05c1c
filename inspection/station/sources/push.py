"""Takes parts that come as `POST /frames`: pictures in, the durable event with its action out.

A part has arrived when the last byte of its request has; from then on its deadline counts. The same
pictures under the same part id and product are the same part, so a client that lost a reply asks
again and gets the event that is there. What a request's head tells is refused before its body is
read; bodies and pixels of all requests together have budgets, which a part holds until its event.
"""

import asyncio
import hashlib
import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event as Flag
from threading import Lock
from typing import NamedTuple

import anyio.to_thread
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inspection.core.errors import ConfigError, ImageError, StationError
from inspection.core.imaging import Rgb, read_header
from inspection.core.limits import (
    BODY_S,
    MAX_FIELD_HEAD_BYTES,
    MAX_FIELDS,
    MAX_HELD_PIXELS,
    MAX_NAME,
    MIN_TOKEN,
    Budget,
)
from inspection.core.records import Event, hash_json
from inspection.station.clock import SYSTEM_CLOCK
from inspection.station.frames.settings import FramesSettings
from inspection.station.outputs.message import event_message
from inspection.station.outputs.output import OutputDown
from inspection.station.outputs.secret import read_token
from inspection.station.outputs.settings import ActionSettings
from inspection.station.part import Fault, Frame, Intake, Part, Share, identify
from inspection.station.sources.decoding import AT_ONCE, Decoders
from inspection.station.sources.settings import CAMERA, Name, PushSettings
from inspection.station.state import StationState, StationStatus

SOURCE = "POST /frames"
FORM = "multipart/form-data"
NEW_TOKEN = "`openssl rand -hex 32` prints a token"  # noqa: S105 - how to make one
HELD = 4  # requests of the largest size that may be in memory
ANSWERED = 10_000  # frames that are known to stand in the event of a part
PICTURES = frozenset(
    {"image/png", "image/jpeg", "image/bmp", "image/tiff", "application/octet-stream"}
)
AGAIN = {"Retry-After": "1"}
CAMERA_NAME = TypeAdapter(Name)
FRAME, LAST = re.compile(r"[0-9]{1,6}"), ("true", "false")
BOUNDARY = re.compile(r'boundary="?([^";,]{1,70})"?', re.IGNORECASE)
FIELD = re.compile(
    rb'^content-disposition:[^\r\n]*?;\s*name="?([^";\r\n]*)"?', re.IGNORECASE | re.MULTILINE
)


class _Query(NamedTuple):
    part_id: str
    product: str = "default"
    frame: str = "1"
    last: str = "false"


class PushSource:
    """The part of the station's web address that brings parts.

    Args:
        settings: largest request, how long one waits, which token it must bring.
        actions: what the line does with each verdict; stands in every reply.
        find: gives the durable event of an event_id; called in several threads.
        cameras_of: gives the cameras of a product; pictures of others are not decoded.
        frames: each request brings one frame of a part, and says which; else a whole part.
        record: of the station, which event ids belong to.
        deadline_s: from a part's arrival to its verdict, s; none waits for every picture.

    Raises:
        ConfigError: the token file cannot be read, or its token is too short.
    """

    def __init__(  # noqa: PLR0913 - what every request may need
        self,
        settings: PushSettings,
        actions: ActionSettings,
        find: Callable[[str], Event | None],
        cameras_of: Callable[[str], Collection[str]],
        *,
        frames: FramesSettings | None = None,
        record: str = "",
        deadline_s: float | None = None,
    ) -> None:
        self._record, self._deadline_s = record, deadline_s
        self._actions, self._find, self._cameras_of = actions, find, cameras_of
        self._numbers = (
            range(frames.first, frames.first + frames.count) if frames is not None else None
        )
        self._parts_of: OrderedDict[str, str] = OrderedDict()  # frame → event_id of its part
        self._wait_s = settings.wait_ms / 1000
        self._max_bytes = settings.max_mb * 1_000_000
        self._bearer = f"Bearer {_read_token(settings.token_file)}".encode()
        self._bodies, self._pixels = Budget(HELD * self._max_bytes), Budget(MAX_HELD_PIXELS)
        self._decoders = anyio.CapacityLimiter(AT_ONCE)
        self._waiting: dict[str, Future[Event]] = {}
        self._lock = Lock()
        self._intake: Intake | None = None
        self._pictures: Decoders | None = None
        self._closed = False
        self._status: Callable[[], StationStatus] | None = None

    def run(self, intake: Intake, stop: Flag) -> None:
        """Take requests until `stop` is set; see `Source`.

        Raises:
            StationError: the web server ended before the station did, or no decoder comes back
                from its picture.
        """
        self._pictures = Decoders(self._deadline_s, SYSTEM_CLOCK)
        self._attach(intake)
        try:
            while not stop.wait(0.2):
                self._pictures.require()
                intake.source_state = self._pictures.state
                if self._closed:
                    raise StationError(
                        "source push: the web server has ended, so no part can come; look for the "
                        "cause in the log above, then start the station again"
                    )
        finally:
            self._attach(None)
            self._pictures.close()

    def _attach(self, intake: Intake | None) -> None:
        with self._lock:  # no part is handed in after the loop was told that there are no more
            self._intake = intake

    def close(self) -> None:
        """Tell everybody who still waits for a verdict to ask again later; for any thread."""
        self._closed = True
        for future in list(self._waiting.values()):
            future.cancel()

    def routes(self, status: Callable[[], StationStatus]) -> list[Route]:
        """Give the routes for the web server; `status` is the station's last snapshot."""
        self._status = status
        return [
            Route("/frames", self._post, methods=["POST"]),
            Route("/events/{event_id}", self._get, methods=["GET"]),
        ]

    async def _post(self, request: Request) -> Response:
        query = self._admit(request)
        with ExitStack() as unless_taken:
            held = unless_taken.enter_context(ExitStack())
            part = await self._receive(request, query, held)
            future, waits = self._hand_in(part, unless_taken)
        if waits:  # for frames that its client may send only now
            return _wait(part.event_id)
        done, _ = await asyncio.wait([asyncio.wrap_future(future)], timeout=self._wait_s)
        if not done:
            return _wait(part.event_id)
        if future.cancelled():
            raise HTTPException(503, "the station is stopping; ask again", AGAIN)
        return self._judged(future.result())

    async def _get(self, request: Request) -> Response:
        self._authorise(request)
        event_id = request.path_params["event_id"]
        if len(event_id) > MAX_NAME:
            raise HTTPException(404, f"an event_id has at most {MAX_NAME} characters")
        if event_id in self._waiting:
            return _wait(event_id)
        try:
            known = self._parts_of.get(event_id, event_id)
            event = await anyio.to_thread.run_sync(self._find, known)
        except StationError as error:
            raise HTTPException(503, str(error), AGAIN) from error
        if event is None:
            raise HTTPException(404, f"event '{event_id}' is unknown; hand the part in again")
        return self._judged(event)

    def _judged(self, event: Event) -> Response:
        return Response(event_message(event, self._actions), media_type="application/json")

    def _admit(self, request: Request) -> _Query:
        """Refuse what the head alone tells, before a byte of the body is read."""
        self._authorise(request)
        self._refuse_when_idle()
        query = _query(request, framed=self._numbers is not None)
        _require_kind(request.headers.get("content-type", ""))
        if int(request.headers.get("content-length", "0")) > self._max_bytes:
            raise self._too_large()
        return query

    def _authorise(self, request: Request) -> None:
        """Compare in constant time, so that a token cannot be guessed byte by byte."""
        brought = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(brought, self._bearer):
            raise HTTPException(
                401,
                "the token is missing or wrong; expected that of source.token_file as "
                "'Authorization: Bearer …'",
                {"WWW-Authenticate": "Bearer"},
            )
        request.state.actor = SOURCE  # strangers give way to it

    def _refuse_when_idle(self) -> None:
        """Say why no part can be taken now, if so: a part that is taken must get its event."""
        why = "it has not started yet or is stopping" if self._intake is None else ""
        status = self._status() if self._status else None
        if status is not None and status.state in {StationState.BLOCKED, StationState.STOPPED}:
            why = f"it is {status.state}: {status.reason}"
        if why:
            raise HTTPException(503, f"the station takes no part: {why}", AGAIN)

    async def _receive(self, request: Request, query: _Query, held: ExitStack) -> Part:
        """Read, check and decode one request; `held` gives back what it takes of the budgets."""
        body = await self._read(request, held)
        captured_at, arrived_s = datetime.now(UTC), time.monotonic()
        content_type = request.headers.get("content-type", "")
        decode = partial(self._frames, content_type, body, query, held, arrived_s)
        frames = await anyio.to_thread.run_sync(decode, limiter=self._decoders)
        framed = self._numbers is not None
        event_id = _event_id(self._record, query, frames, framed=framed)
        return Part(
            event_id=event_id,
            part_id=query.part_id,
            product=query.product,
            frames=frames,
            captured_at=captured_at,
            arrived_s=arrived_s,
            answer=partial(self._answer, event_id, held),
            share=Share(int(query.frame), query.last == "true") if framed else None,
        )

    async def _read(self, request: Request, held: ExitStack) -> bytes:
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_S):
                async for piece in request.stream():
                    size += len(piece)
                    if size > self._max_bytes:
                        raise self._too_large()
                    if not self._bodies.take(len(piece)):
                        raise _crowded()
                    held.callback(self._bodies.release, len(piece))
                    pieces.append(piece)
        except TimeoutError as error:
            raise HTTPException(
                408, f"the request was not whole within {BODY_S} s; send it faster"
            ) from error
        return b"".join(pieces)

    def _too_large(self) -> HTTPException:
        return HTTPException(
            413,
            f"the request has more than {self._max_bytes:,} bytes; expected at most that; send "
            "smaller pictures or raise source.max_mb",
        )

    def _frames(
        self, content_type: str, body: bytes, query: _Query, held: ExitStack, arrived_s: float
    ) -> tuple[Frame, ...]:
        """Decode the pictures of the product's cameras, if there is room for their pixels."""
        pictures = _pictures(content_type, body)
        faults = {
            camera: fault
            for camera, encoded in pictures.items()
            if (fault := self._unwanted(camera, query)) is not None
        }
        sizes = {
            camera: _pixel_count(camera, encoded)
            for camera, encoded in pictures.items()
            if camera not in faults
        }
        faults |= {camera: size for camera, size in sizes.items() if isinstance(size, Fault)}
        self._hold_pixels(sum(size for size in sizes.values() if isinstance(size, int)), held)
        return tuple(
            Frame(
                camera=camera,
                source=SOURCE,
                pixels=faults[camera]
                if camera in faults
                else self._decode(camera, encoded, arrived_s),
                encoded=encoded,
                sha256=hashlib.sha256(encoded).hexdigest(),
            )
            for camera, encoded in sorted(pictures.items())
        )

    def _decode(self, camera: str, encoded: bytes, arrived_s: float) -> Rgb | Fault:
        name = f"{SOURCE}, camera {camera}"
        if self._pictures is None:
            return Fault(f"{name}: not decoded: the station has not started yet")
        try:
            return self._pictures.decode(encoded, name, arrived_s)
        except ImageError as error:
            return Fault(str(error))
        except MemoryError:
            return Fault(f"{name}: no memory to decode it; send smaller pictures")

    def _unwanted(self, camera: str, query: _Query) -> Fault | None:
        """Say why nobody would look at a picture, so that it is not decoded."""
        if camera not in self._cameras_of(query.product):
            return Fault(
                f"camera '{camera}' has no recipe for product '{query.product}'; add it to "
                "`recipes`"
            )
        if self._numbers is not None and int(query.frame) not in self._numbers:
            first, last = self._numbers[0], self._numbers[-1]
            return Fault(
                f"frame number {int(query.frame)}; expected {first} to {last}; mend the number at "
                "its source, or frames.first and frames.count"
            )
        return None

    def _hold_pixels(self, count: int, held: ExitStack) -> None:
        if count > MAX_HELD_PIXELS:
            raise HTTPException(
                413,
                f"the pictures have {count:,} pixels; expected at most {MAX_HELD_PIXELS:,} in one "
                "request; send smaller pictures",
            )
        if not self._pixels.take(count):
            raise _crowded()
        held.callback(self._pixels.release, count)

    def _hand_in(self, part: Part, unless_taken: ExitStack) -> tuple[Future[Event], bool]:
        """Put a part in the queue, unless the same one waits there already.

        Args:
            part: what a request brought.
            unless_taken: what to give back at once if the part is not put in the queue.

        Returns:
            What it will be answered with, and whether it waits for further frames before.
        """
        with self._lock:
            if self._intake is None or self._closed:
                raise HTTPException(503, "the station is stopping; ask again", AGAIN)
            future = self._waiting.get(part.event_id)
            if future is None:
                unless_taken.pop_all()  # the part's event gives it back
                future = self._waiting[part.event_id] = Future()
                return future, not self._intake.put(part)
        return future, self._numbers is not None

    def _answer(self, event_id: str, held: ExitStack, event: Event) -> None:
        """Wake the requests that wait for what was handed in; in the loop's thread."""
        held.close()
        if event_id != event.event_id:
            self._parts_of[event_id] = event.event_id
            while len(self._parts_of) > ANSWERED:
                self._parts_of.popitem(last=False)
        future = self._waiting.pop(event_id, None)
        if future is not None and future.set_running_or_notify_cancel():
            future.set_result(event)


def _wait(event_id: str) -> Response:
    where = f"/events/{event_id}"
    return JSONResponse(
        {"event_id": event_id, "ask": where}, 202, headers={**AGAIN, "Location": where}
    )


def _crowded() -> HTTPException:
    return HTTPException(503, "too many pictures come at once; send it again", AGAIN)


def _read_token(path: Path) -> str:
    try:
        token = read_token(path)
    except OutputDown as error:
        raise ConfigError(f"source.token_file: {error}; {NEW_TOKEN}") from error
    if len(token) < MIN_TOKEN:
        raise ConfigError(
            f"source.token_file: {path}: token has {len(token)} characters; expected {MIN_TOKEN} "
            f"or more; {NEW_TOKEN}"
        )
    return token


def _query(request: Request, *, framed: bool) -> _Query:
    """Read the query; what is not asked for is refused, since a mistyped product judges wrongly."""
    shown = request.scope["query_string"].decode("latin-1")
    given = request.query_params.multi_items()
    taken = set(_Query._fields) if framed else {"part_id", "product"}
    unknown = {name for name, _ in given} - taken
    if unknown or len(given) > len(dict(given)) or (framed and "frame" not in dict(given)):
        expected = (
            "part_id and frame once, product and last at most once"
            if framed
            else "part_id once, product at most once"
        )
        raise HTTPException(
            400,
            f"the query is '{shown}'; expected {expected} and nothing else",
        )
    values = dict(given)
    if not FRAME.fullmatch(values.get("frame", "1")) or values.get("last", "true") not in LAST:
        raise HTTPException(
            400,
            f"the query is '{shown}'; expected frame as a number of up to 6 digits and "
            f"last as true or false, as in {SOURCE}?part_id=0173&frame=2&last=true",
        )
    for name in ("part_id", *values):
        value = values.get(name, "")
        if not value.strip() or len(value) > MAX_NAME or not value.isprintable() or "�" in value:
            raise HTTPException(
                400,
                f"{name} is {value!r}; expected 1 to {MAX_NAME} printable characters in UTF-8, "
                f"percent-encoded, as in {SOURCE}?part_id=0173",
            )
    return _Query(**values)


def _require_kind(content_type: str) -> None:
    kind = _kind(content_type)
    if kind not in PICTURES | {FORM}:
        raise HTTPException(
            415,
            f"the content type is '{content_type}'; expected a picture as one of "
            f"{', '.join(sorted(PICTURES))}, or {FORM} with one file per camera",
        )


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _pictures(content_type: str, body: bytes) -> dict[str, bytes]:
    """Give the encoded picture of each camera."""
    if _kind(content_type) == FORM:
        return _form(content_type, body)
    if not body:
        raise HTTPException(400, "there is no picture; expected one as the body of the request")
    return {CAMERA: body}


def _form(content_type: str, body: bytes) -> dict[str, bytes]:
    """Take multipart/form-data (RFC 7578) apart; the name of each field is that of its camera."""
    boundary = BOUNDARY.search(content_type)
    ends = b"\r\n--" + (boundary[1].encode("latin-1") if boundary else b"")
    _, *pieces = (b"\r\n" + body).split(ends, MAX_FIELDS + 2)
    if not boundary or not pieces or not pieces[-1].startswith(b"--"):
        raise HTTPException(
            400,
            f"the form cannot be read; expected multipart/form-data, whole, of 1 to {MAX_FIELDS} "
            "fields between the boundaries its content type names",
        )
    pictures: dict[str, bytes] = {}
    for piece in pieces[:-1]:
        head, _, encoded = piece.partition(b"\r\n\r\n")
        camera = _camera(head)
        if camera in pictures:
            raise HTTPException(400, f"camera '{camera}' has two pictures; expected one; send one")
        pictures[camera] = encoded
    if not pictures:
        raise HTTPException(400, "there is no picture; expected one field per camera in the form")
    return pictures


def _camera(head: bytes) -> str:
    field = FIELD.search(head, 0, MAX_FIELD_HEAD_BYTES)
    name = field[1].decode("utf-8", "backslashreplace") if field else ""
    try:
        return CAMERA_NAME.validate_python(name)
    except ValidationError as error:
        raise HTTPException(
            400,
            f"a field of the form is named '{name}'; expected the name of a camera: letters, "
            "digits, dot, dash and underscore; rename it",
        ) from error


def _pixel_count(camera: str, encoded: bytes) -> int | Fault:
    """Read how many pixels a picture has, without decoding them."""
    try:
        header = read_header(encoded, f"{SOURCE}, camera {camera}")
    except ImageError as error:
        return Fault(str(error))
    return header.height_px * header.width_px


def _event_id(record: str, query: _Query, frames: tuple[Frame, ...], *, framed: bool) -> str:
    sha256s = {frame.camera: frame.sha256 for frame in frames}
    which = [int(query.frame)] if framed else []
    return identify(record, hash_json([query.part_id, query.product, sha256s, *which]))
