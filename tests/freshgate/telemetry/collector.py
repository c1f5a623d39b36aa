"""A small collector of traces: takes OTLP over HTTP on 127.0.0.1 and remembers the spans.

`test_processes.py` points the product at it; the bytes are decoded by the schema that collectors use.
"""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5


class CollectedSpan(NamedTuple):
    """One span as it arrived. Ids are hex; `links` are (trace id, span id)."""

    trace: str
    span: str
    parent: str
    name: str
    kind: int
    attributes: dict[str, str]
    links: list[tuple[str, str]]


class Collector:
    """A context manager; `url` is what FRESHGATE_OTLP_ENDPOINT takes."""

    def __init__(self) -> None:
        self.spans: list[CollectedSpan] = []
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Content-Encoding"] == "gzip":
                    body = gzip.decompress(body)
                if self.path == "/v1/traces":
                    spans.extend(read(body))
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """The test's own output is enough."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Collector:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def of(self, trace: str) -> list[CollectedSpan]:
        return [span for span in list(self.spans) if span.trace == trace]


def read(body: bytes) -> list[CollectedSpan]:
    """The spans of one request. Values become text, so that a test can search them all."""
    request = ExportTraceServiceRequest.FromString(body)
    return [
        CollectedSpan(
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.name,
            span.kind,
            {pair.key: str(pair.value).strip() for pair in span.attributes},
            [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
