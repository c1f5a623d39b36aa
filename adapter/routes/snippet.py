"""`GET /freshgate.js`: the snippet for pages of shops without a CDP, which posts to `tracking_api.py`.

docs/BROWSER.md says how a page uses it.
"""

from __future__ import annotations

import gzip
from hashlib import sha256
from pathlib import Path

from flask import Flask, Response, request

FILE = Path(__file__).with_name("freshgate.js")


def add_snippet(app: Flask) -> None:
    """The route of the snippet, compressed once. Any page may load it, since it holds no secret."""
    plain = FILE.read_bytes()
    gzipped = gzip.compress(plain, 9, mtime=0)
    tag = sha256(plain).hexdigest()[:16]

    @app.get("/freshgate.js")
    def snippet() -> Response:
        is_gzip = request.accept_encodings["gzip"] > 0
        response = Response(gzipped if is_gzip else plain, mimetype="text/javascript")
        if is_gzip:
            response.headers["Content-Encoding"] = "gzip"
        response.headers["Cache-Control"] = "public, max-age=3600"
        response.headers["Vary"] = "Accept-Encoding"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.set_etag(tag, weak=True)
        response.make_conditional(request)
        return response
