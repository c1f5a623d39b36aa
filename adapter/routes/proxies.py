"""The caller's address where proxies stand before the receiver: the limits per IP count by it.

`app.py` puts it before Flask. werkzeug's own reads `X-Forwarded-For` as a list of quoted strings: a quote that a caller
sends swallows the address that the proxy adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


class ForwardedFor:
    """WSGI middleware that takes the caller's address from what our proxies say.

    proxies  how many of them add the address of whom they serve to the header's end
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], proxies: int) -> None:
        self._app = app
        self._proxies = proxies

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Calls the app with the visitor's address in place of the proxy's."""
        addresses = environ.get("HTTP_X_FORWARDED_FOR", "").rsplit(",", self._proxies)
        if len(addresses) >= self._proxies and addresses[-self._proxies].strip():
            environ["REMOTE_ADDR"] = without_port(addresses[-self._proxies].strip())
        return self._app(environ, start_response)


def without_port(address: str) -> str:
    """`192.0.2.1:1234` and `[2001:db8::1]:1234`, as some proxies write it, without the port."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address
