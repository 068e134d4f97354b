"""Who may ask, and what every answer carries: hosts, origins, the key, the headers that keep a browser safe."""

import base64
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from tinytale.addons.serve.schema import error_body
from tinytale.errors import UsageError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True)
class Guard:
    """Stands before the application (ASGI).

    A request must name a host that this server goes by, so that no foreign page reaches it through a name of its own
    (DNS rebinding), and must not come from a page of another origin. With a key, every route but /health wants it: as
    a bearer token, or as the password that a browser asks for.
    """

    app: App
    hosts: frozenset[str]
    """Names without ports; empty lets any name pass."""
    key: str | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        if refusal := self._refusal(scope["path"], headers):
            await _answer(send_with_headers, *refusal)
        else:
            await self.app(scope, receive, send_with_headers)

    def _refusal(self, path: str, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self.hosts and hostname(host) not in self.hosts:
            return 403, (
                "this server answers only to localhost and to its own address. Behind a proxy, start it with"
                " --host 0.0.0.0 and a key in TINYTALE_API_KEY: then it answers to any name"
            )
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return 403, "this request comes from a page of another site"
        if self.key is not None and path != "/health" and not self._has_key(headers.get("authorization", "")):
            return 401, "a key is needed: Authorization: Bearer KEY, or as the password in a browser"
        return None

    def _has_key(self, authorization: str) -> bool:
        kind, _, value = authorization.partition(" ")
        if kind.lower() == "basic":
            try:
                sent = base64.b64decode(value, validate=True).partition(b":")[2]
            except ValueError:
                return False
        elif kind.lower() == "bearer":
            sent = value.encode("latin-1")
        else:
            return False
        return hmac.compare_digest(sent, (self.key or "").encode())


def check_key(key: str) -> None:
    """See that a header can carry the key.

    Raises:
        UsageError: it cannot; the key is not repeated.
    """
    if key != key.strip() or not key.isprintable():
        raise UsageError(
            "the key has a blank at an end, or something in it that cannot be printed (a newline of the file that it"
            " comes from?); a header cannot carry that"
        )


def hostname(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        address, closed, _ = host[1:].partition("]")
        return address if closed else host
    return host.partition(":")[0].lower()


async def _answer(send: Send, status: int, message: str) -> None:
    headers = [(b"content-type", b"application/json")]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="tinytale", charset="UTF-8"'))
    body = json.dumps(error_body(message, "invalid_request_error", "unauthorized" if status == 401 else None))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})
