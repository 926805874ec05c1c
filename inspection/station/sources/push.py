"""Takes parts that come as `POST /frames`: pictures in, the durable event with its action out.

A part has arrived when the last byte of its request has; from then on its deadline counts. The same
pictures under the same part id and product are the same part, so a client that lost a reply asks
again and gets the event that is there.
"""

import asyncio
import hashlib
import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from threading import Event as Flag
from threading import Lock
from typing import NamedTuple

import anyio.to_thread
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inspection.core.errors import ImageError, StationError
from inspection.core.imaging import Rgb, decode_image
from inspection.core.records import Event, hash_json
from inspection.station.outputs.message import event_message
from inspection.station.outputs.settings import ActionSettings
from inspection.station.part import Fault, Frame, Intake, Part, Share, identify
from inspection.station.sources.settings import CAMERA, Name, PushSettings
from inspection.station.state import StationState, StationStatus

SOURCE = "POST /frames"
BODY_S = 30  # a request that is not whole by then is given up
DECODERS = 2  # requests decoded at once: the rest of the processor is for judging
HELD = 4  # requests of the largest size that may be in memory before they are decoded
CAMERAS_MOST = 64
NAME_MOST = 128  # characters of a part id or product code
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
        framed: each request brings one frame of a part, and says which; else a whole part.
        record: of the station, which event ids belong to.
    """

    def __init__(
        self,
        settings: PushSettings,
        actions: ActionSettings,
        find: Callable[[str], Event | None],
        *,
        framed: bool = False,
        record: str = "",
    ) -> None:
        self._record = record
        self._actions, self._find, self._framed = actions, find, framed
        self._parts_of: OrderedDict[str, str] = OrderedDict()  # frame → event_id of its part
        self._wait_s = settings.wait_ms / 1000
        self._most_bytes = settings.max_mb * 1_000_000
        self._bearer = f"Bearer {settings.token}".encode() if settings.token else b""
        self._held_bytes = 0
        self._decoders = anyio.CapacityLimiter(DECODERS)
        self._waiting: dict[str, Future[Event]] = {}
        self._lock = Lock()
        self._intake: Intake | None = None
        self._closed = False
        self._status: Callable[[], StationStatus] | None = None

    def run(self, intake: Intake, stop: Flag) -> None:
        """Take requests until `stop` is set; see `Source`.

        Raises:
            StationError: the web server ended before the station did.
        """
        self._attach(intake)
        try:
            while not stop.wait(0.2):
                if self._closed:
                    raise StationError(
                        "source push: the web server has ended, so no part can come; look for the "
                        "cause in the log above, then start the station again"
                    )
        finally:
            self._attach(None)

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
        part = await self._receive(request)
        future, waits = self._hand_in(part)
        if waits:  # for frames that its client may send only now
            return _wait(part.event_id)
        done, _ = await asyncio.wait([asyncio.wrap_future(future)], timeout=self._wait_s)
        if not done:
            return _wait(part.event_id)
        if future.cancelled():
            raise HTTPException(503, "the station is stopping; ask again", AGAIN)
        return self._judged(future.result())

    async def _get(self, request: Request) -> Response:
        if (refusal := self._unauthorised(request)) is not None:
            raise refusal
        event_id = request.path_params["event_id"]
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

    async def _receive(self, request: Request) -> Part:
        """Read, check and decode one request."""
        refusal = self._unauthorised(request) or self._not_now()
        held: list[bytes] = []
        try:
            await self._read(request, held, keep=refusal is None)
            captured_at, arrived_s = datetime.now(UTC), time.monotonic()
            if refusal is not None:
                raise refusal
            query = _query(request, framed=self._framed)
            pictures = _pictures(request.headers.get("content-type", ""), b"".join(held))
            frames = await anyio.to_thread.run_sync(_frames, pictures, limiter=self._decoders)
        finally:
            self._held_bytes -= sum(map(len, held))
        event_id = _event_id(self._record, query, frames, framed=self._framed)
        return Part(
            event_id=event_id,
            part_id=query.part_id,
            product=query.product,
            frames=frames,
            captured_at=captured_at,
            arrived_s=arrived_s,
            answer=partial(self._answer, event_id),
            share=Share(int(query.frame), query.last == "true") if self._framed else None,
        )

    async def _read(self, request: Request, held: list[bytes], *, keep: bool) -> None:
        """Read a request to its end, whatever becomes of it: only then does its client listen."""
        size, crowded = 0, False
        try:
            async with asyncio.timeout(BODY_S):
                async for chunk in request.stream():
                    size += len(chunk)
                    crowded |= self._held_bytes + len(chunk) > HELD * self._most_bytes
                    if keep and size <= self._most_bytes and not crowded:
                        held.append(chunk)
                        self._held_bytes += len(chunk)
        except TimeoutError as error:
            raise HTTPException(
                408, f"the request was not whole within {BODY_S} s; send it faster"
            ) from error
        if keep and size > self._most_bytes:
            raise HTTPException(
                413,
                f"the request has {size:,} bytes; wanted at most {self._most_bytes:,}; send "
                "smaller pictures or raise source.max_mb",
            )
        if keep and crowded:
            raise HTTPException(503, "too many pictures come at once; send it again", AGAIN)

    def _unauthorised(self, request: Request) -> HTTPException | None:
        """Compare in constant time, so that a token cannot be guessed byte by byte."""
        brought = request.headers.get("authorization", "").encode()
        if not self._bearer or hmac.compare_digest(brought, self._bearer):
            return None
        return HTTPException(
            401,
            "the token is missing or wrong; wanted source.token as 'Authorization: Bearer …'",
            {"WWW-Authenticate": "Bearer"},
        )

    def _not_now(self) -> HTTPException | None:
        """Say why no part can be taken now, if so: a part that is taken must get its event."""
        why = "it has not started yet or is stopping" if self._intake is None else ""
        status = self._status() if self._status else None
        if status is not None and status.state in {StationState.BLOCKED, StationState.STOPPED}:
            why = f"it is {status.state}: {status.reason}"
        return HTTPException(503, f"the station takes no part: {why}", AGAIN) if why else None

    def _hand_in(self, part: Part) -> tuple[Future[Event], bool]:
        """Put a part in the queue, unless the same one waits there already.

        Returns:
            What it will be answered with, and whether it waits for further frames before.
        """
        with self._lock:
            if self._intake is None or self._closed:
                raise HTTPException(503, "the station is stopping; ask again", AGAIN)
            future = self._waiting.get(part.event_id)
            if future is None:
                future = self._waiting[part.event_id] = Future()
                return future, not self._intake.put(part)
        return future, self._framed

    def _answer(self, event_id: str, event: Event) -> None:
        """Wake the requests that wait for what was handed in; in the loop's thread."""
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


def _query(request: Request, *, framed: bool) -> _Query:
    """Read the query; what is not asked for is refused, since a mistyped product judges wrongly."""
    given = request.query_params.multi_items()
    taken = set(_Query._fields) if framed else {"part_id", "product"}
    unknown = {name for name, _ in given} - taken
    if unknown or len(given) > len(dict(given)) or (framed and "frame" not in dict(given)):
        wanted = (
            "part_id and frame once, product and last at most once"
            if framed
            else ("part_id once, product at most once")
        )
        raise HTTPException(
            400,
            f"the query is '{request.url.query}'; wanted {wanted} and nothing else",
        )
    values = dict(given)
    if not FRAME.fullmatch(values.get("frame", "1")) or values.get("last", "true") not in LAST:
        raise HTTPException(
            400,
            f"the query is '{request.url.query}'; wanted frame as a number of up to 6 digits and "
            f"last as true or false, as in {SOURCE}?part_id=0173&frame=2&last=true",
        )
    for name in ("part_id", *values):
        value = values.get(name, "")
        if not value.strip() or len(value) > NAME_MOST or not value.isprintable() or "�" in value:
            raise HTTPException(
                400,
                f"{name} is {value!r}; wanted 1 to {NAME_MOST} printable characters in UTF-8, "
                f"percent-encoded, as in {SOURCE}?part_id=0173",
            )
    return _Query(**values)


def _pictures(content_type: str, body: bytes) -> dict[str, bytes]:
    """Give the encoded picture of each camera."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return _form(content_type, body)
    if kind not in PICTURES:
        raise HTTPException(
            415,
            f"the content type is '{content_type}'; wanted a picture as one of "
            f"{', '.join(sorted(PICTURES))}, or multipart/form-data with one file per camera",
        )
    if not body:
        raise HTTPException(400, "there is no picture; wanted one as the body of the request")
    return {CAMERA: body}


def _form(content_type: str, body: bytes) -> dict[str, bytes]:
    """Take multipart/form-data (RFC 7578) apart; the name of each field is that of its camera."""
    boundary = BOUNDARY.search(content_type)
    ends = b"\r\n--" + (boundary[1].encode("latin-1") if boundary else b"")
    _, *pieces = (b"\r\n" + body).split(ends, CAMERAS_MOST + 2)
    if not boundary or not pieces or not pieces[-1].startswith(b"--"):
        raise HTTPException(
            400,
            f"the form cannot be read; wanted multipart/form-data, whole, of 1 to {CAMERAS_MOST} "
            "fields between the boundaries its content type names",
        )
    pictures: dict[str, bytes] = {}
    for piece in pieces[:-1]:
        head, _, encoded = piece.partition(b"\r\n\r\n")
        camera = _camera(head)
        if camera in pictures:
            raise HTTPException(400, f"camera '{camera}' has two pictures; wanted one; send one")
        pictures[camera] = encoded
    if not pictures:
        raise HTTPException(400, "there is no picture; wanted one field per camera in the form")
    return pictures


def _camera(head: bytes) -> str:
    field = FIELD.search(head)
    name = field[1].decode("utf-8", "backslashreplace") if field else ""
    try:
        return CAMERA_NAME.validate_python(name)
    except ValidationError as error:
        raise HTTPException(
            400,
            f"a field of the form is named '{name}'; wanted the name of a camera: letters, digits, "
            "dot, dash and underscore; rename it",
        ) from error


def _frames(pictures: Mapping[str, bytes]) -> tuple[Frame, ...]:
    return tuple(
        Frame(
            camera=camera,
            source=SOURCE,
            pixels=_decode(camera, encoded),
            encoded=encoded,
            sha256=hashlib.sha256(encoded).hexdigest(),
        )
        for camera, encoded in sorted(pictures.items())
    )


def _decode(camera: str, encoded: bytes) -> Rgb | Fault:
    try:
        return decode_image(encoded, f"{SOURCE}, camera {camera}")
    except ImageError as error:
        return Fault(str(error))
    except MemoryError:
        return Fault(f"{SOURCE}, camera {camera}: no memory to decode it; send smaller pictures")


def _event_id(record: str, query: _Query, frames: tuple[Frame, ...], *, framed: bool) -> str:
    sha256s = {frame.camera: frame.sha256 for frame in frames}
    which = [int(query.frame)] if framed else []
    return identify(record, hash_json([query.part_id, query.product, sha256s, *which]))
