"""python-http-client made safe for mail: one kept connection, no redirects, no proxies, nothing of a call in the log.

ESP files call through `SafeClient`; `connection.py` carries the request.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request

from python_http_client import Client
from python_http_client.client import Response

from workers.esp.connection import Connection, HttpResponse


class SafeClient(Client):  # type: ignore[misc]
    """A python_http_client.Client whose whole URL chain shares one `Connection`. Headers are set once, here.

    Raises EspError only when no whole response came: retryable if the request was not sent as a whole, `ambiguous` if
    it was. Every status is a response, 3xx and 5xx included: read its `status_code`.
    """

    def __init__(
        self,
        host: str,
        request_headers: Mapping[str, str] | None = None,
        version: int | None = None,
        url_path: list[str] | None = None,
        append_slash: bool = False,
        timeout: float | None = None,
        *,
        connection: Connection,
    ) -> None:
        if not timeout or timeout <= 0:
            raise ValueError("a timeout in seconds is required")
        # At DEBUG these loggers print the API key and the whole payload.
        for name in ("python_http_client", "python_http_client.client"):
            logger = logging.getLogger(name)
            logger.setLevel(max(logger.level, logging.INFO))
        super().__init__(host, dict(request_headers or {}), version, url_path, append_slash, timeout)
        self.connection = connection

    def _build_client(self, name: str | None = None) -> SafeClient:
        # The parent names `Client` here, which would lose this class after the first segment of the path.
        return SafeClient(
            self.host,
            self.request_headers,
            self._version,
            [*self._url_path, name] if name else self._url_path,
            self.append_slash,
            self.timeout,
            connection=self.connection,
        )

    def _update_headers(self, request_headers: Mapping[str, str]) -> None:
        raise ValueError("headers of one call would stick to all later ones; pass them to the constructor")

    def post(self, request_body: Any = None) -> Response:
        """Posts JSON. The parent also builds an urllib opener for each call, which costs as much as the call."""
        path = urlsplit(self._build_url(None)).path
        body = json.dumps(request_body).encode()
        return Response(self.connection.exchange("POST", path, self.request_headers, body, self.timeout))

    def _make_request(self, opener: object, request: Request, timeout: float | None = None) -> HttpResponse:
        # The opener would follow redirects with the key attached, and obey proxies of the environment.
        body = request.data if isinstance(request.data, bytes) else b""
        return self.connection.exchange(
            request.get_method(), request.selector, self.request_headers, body, timeout or self.timeout
        )
