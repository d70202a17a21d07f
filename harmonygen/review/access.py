"""Who may talk to the review's server: this machine, a browser that came by the link, and only the page itself.

The link holds a token that is taken once, for a cookie that no script and no other site can use. Requests under another
host name are refused (a name of somebody else's that leads to this machine), and so are those that another page sends.
No framework: this is plain ASGI, so that nothing is answered before it was asked here.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY = 64 * 2**20
"""Largest body of a request, in bytes: the decisions of a few hundred thousand candidates."""
_HEADERS = {
    "content-security-policy": "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_ENTERED = """<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={where}">
<title>harmonygen review</title><p>Opening the review…</p></html>"""
_METHODS = {"GET", "HEAD", "POST"}
_OWN_PAGE = {"", "same-origin", "none"}
"""What a browser says of where a request comes from, if it says it; "none" is the address bar."""


class GuardedApp:
    """Lets only requests from a browser that was given the link through to an app."""

    def __init__(self, app: App, port: int, used: Callable[[str], None] = lambda _link: None) -> None:
        """Take the app, the port that it is served at, and who gets the next link when one was used."""
        self.app, self.port, self._used = app, port, used
        self.hosts = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))
        self.cookie = f"harmonygen-review-{port}"
        self._token, self._sessions = secrets.token_urlsafe(32), set[str]()
        self._lock = threading.Lock()

    @property
    def link(self) -> str:
        """The address that lets one browser in."""
        return f"http://127.0.0.1:{self.port}/?token={self._token}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = _headers(scope["headers"])
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        enters = "token" in query and scope["path"] == "/" and scope["method"] == "GET"
        refused = self._refusal(scope["method"], headers) or ("" if enters else _of_another_page(headers))
        guarded = _Guarded(send)
        if refused:
            await guarded.answer(403, refused)
        elif enters:
            await self._enter(query, guarded)
        elif not self._is_known(headers):
            await guarded.answer(403, "This review was opened without its link: use the one that the terminal shows.")
        else:
            await self.app(scope, _limited(receive), guarded)

    def _refusal(self, method: str, headers: Mapping[str, str]) -> str:
        """Return why a request is refused whoever sends it, or nothing."""
        host = headers.get("host", "")
        if method not in _METHODS:
            return "This method is not allowed."
        if host not in self.hosts:
            return "This host is not allowed: open the review as 127.0.0.1 or localhost, at the port that it has."
        if int(headers.get("content-length") or 0) > MAX_BODY:
            return "This is too large."
        return ""

    async def _enter(self, query: dict[str, str], send: _Guarded) -> None:
        """Take the token for a cookie, once, and go on to the address without it."""
        given = query.pop("token")
        with self._lock:
            fits = hmac.compare_digest(given.encode(), self._token.encode())
            if fits:
                self._token = secrets.token_urlsafe(32)
        if not fits:
            await send.answer(403, "This link was used before, or is not this server's: the terminal shows a new one.")
            return
        session = secrets.token_urlsafe(32)
        self._sessions.add(session)
        self._used(self.link)
        cookie = f"{self.cookie}={session}; Path=/; HttpOnly; SameSite=Strict"
        where = "/" + (f"?{urlencode(query)}" if query else "")
        page = _ENTERED.format(where=where.replace("&", "&amp;").replace('"', "%22"))
        await send.answer(200, page, "text/html; charset=utf-8", {"set-cookie": cookie})

    def _is_known(self, headers: Mapping[str, str]) -> bool:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return False
        return found is not None and any(hmac.compare_digest(found.value, known) for known in self._sessions)


def _of_another_page(headers: Mapping[str, str]) -> str:
    """Return a refusal if a browser says that another page sent a request: any port of this machine is one site."""
    own = f"http://{headers.get('host', '')}"
    foreign = headers.get("sec-fetch-site", "") not in _OWN_PAGE or headers.get("origin", own) != own
    return "This was sent by another page." if foreign else ""


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return a request's headers; one that stands twice is joined, so that neither of two hosts passes."""
    found: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}; {text}" if key in found else text
    return found


def _limited(receive: Receive) -> Receive:
    """Return ``receive`` that ends a body which is longer than it said or than is allowed."""
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        return {"type": "http.disconnect"} if taken > MAX_BODY else message

    return limited


class _Guarded:
    """Sends an answer with the headers that every answer has."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {name for name, _ in message.get("headers", ())}
            added = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
            if b"cache-control" not in own:
                added.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await self._send(message)

    async def answer(
        self, status: int, text: str, kind: str = "text/plain; charset=utf-8", more: Mapping[str, str] | None = None
    ) -> None:
        """Send a short text."""
        body = text.encode()
        headers = {"content-type": kind, "content-length": str(len(body)), **(more or {})}
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": status, "headers": pairs})
        await self({"type": "http.response.body", "body": body})
