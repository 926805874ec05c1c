"""Guards the dashboard's address: which pages may speak to it, how many at once, who may frame it.

Whether the address itself is one of ours, TrustedHostMiddleware asks.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inspection.core.connections import host_of
from inspection.core.limits import MAX_PAGES, MAX_PAGES_OF_ONE, Budget
from inspection.dashboard.parts.remembered import ROUTE

# Scripts and styles within the page are Streamlit's own; whatever else a browser would fetch, run
# or send must be of this origin.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors "
)
COMPONENTS = "/component/"  # which Streamlit's page frames itself


class Border:
    """Refuses what no page of ours asks, and says in each answer what a browser may do with it.

    Streamlit would ask an address on the internet for its own when an Origin is not the Host: such
    a request ends here. Its uploads and its agents' door end here, too: no page has use for them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._pages = app, Budget(MAX_PAGES, MAX_PAGES_OF_ONE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"].endswith("http.response.start"):
                _set_policy(MutableHeaders(scope=message), scope["path"])
            await send(message)

        refusal = _refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send_with_policy)
        elif scope["type"] == "websocket":
            await self._hold(scope, receive, send_with_policy)
        else:
            await self._app(scope, receive, send_with_policy)

    async def _hold(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = host_of((scope.get("client") or ("",))[0])
        if not self._pages.take(1, host):
            full = (
                f"{MAX_PAGES} pages are open, or {MAX_PAGES_OF_ONE} from your address; no more can "
                "be; close one and try again"
            )
            await PlainTextResponse(full, 503)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._pages.release(1, host)


def _refusal(scope: Scope) -> PlainTextResponse | None:
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    if origin is not None and _place(origin) != headers.get("host"):
        return PlainTextResponse(
            "the Origin of this request is another page; expected the Host; open the dashboard by "
            "its own address, and let a proxy before it pass the Host on",
            403,
        )
    if scope["type"] == "http" and scope["method"] not in _methods(scope["path"]):
        return PlainTextResponse("the dashboard only answers GET here", 405)
    return None


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _methods(path: str) -> set[str]:
    return {"POST"} if path == ROUTE.path else {"GET", "HEAD"}


def _set_policy(headers: MutableHeaders, path: str) -> None:
    own = path.startswith(COMPONENTS)
    headers["content-security-policy"] = POLICY + ("'self'" if own else "'none'")
    headers["x-frame-options"] = "SAMEORIGIN" if own else "DENY"
