"""The receiver as an Azure Function, for every path and method.

docs/SERVERLESS.md says how it is packed, and what else is needed. azure-functions' own WSGI bridge is not used: it
makes an exception of each 5xx, so that a CDP would see 500 without `Retry-After`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import azure.functions as func

from adapter.app import from_environment
from freshgate.state.connections import FailoverPool

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


def serve(wsgi: Wsgi, request: func.HttpRequest) -> func.HttpResponse:
    """The app's response to a request, with the body as it came."""
    started: dict[str, Any] = {}

    def start_response(status: str, headers: list[tuple[str, str]], _exc_info: object = None) -> None:
        started.update(status=int(status.partition(" ")[0]), headers=dict(headers))

    result = wsgi(environ_of(request), start_response)
    try:
        body = b"".join(result)
    finally:
        close = getattr(result, "close", None)
        if close:
            close()
    content_type = started["headers"].get("Content-Type")
    return func.HttpResponse(body, status_code=started["status"], headers=started["headers"], mimetype=content_type)


def environ_of(request: func.HttpRequest) -> dict[str, Any]:
    """The WSGI environment of a request (PEP 3333)."""
    url, body = urlsplit(request.url), request.get_body() or b""
    headers = {name.upper().replace("-", "_"): value for name, value in request.headers.items()}
    environ = {f"HTTP_{name}": value for name, value in headers.items()}
    # The front end adds the caller's address as the last, with its port.
    caller = headers.get("X_FORWARDED_FOR", "").rpartition(",")[2].strip()
    return {
        **environ,
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(url.path).decode("latin-1"),
        "QUERY_STRING": url.query,
        "CONTENT_TYPE": headers.get("CONTENT_TYPE", ""),
        "CONTENT_LENGTH": str(len(body)),
        "REMOTE_ADDR": without_port(caller),
        "SERVER_NAME": url.hostname or "",
        "SERVER_PORT": str(url.port or 443),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": url.scheme,
        "wsgi.input": BytesIO(body),
        "wsgi.errors": _Errors(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def without_port(address: str) -> str:
    """ "203.0.113.7:50123" and "[2001:db8::1]:50123" without the port."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


class _Errors:
    """`wsgi.errors`: the app logs by itself, and nothing else may go to the function's log."""

    def write(self, text: str) -> int:
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Drops them."""

    def flush(self) -> None:
        """Has nothing to flush."""


app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
# It may be suspended between two requests, for a time that its clocks may not show: no connection is used without a
# look at it.
FailoverPool.recent_s = 0.0
RECEIVER = from_environment()


@app.function_name("receiver")
@app.route(route="{*path}", methods=METHODS)
def receiver(req: func.HttpRequest) -> func.HttpResponse:
    """Every path and method: sources prove a request by its signature, so no key of Azure's is asked for."""
    return serve(RECEIVER, req)
