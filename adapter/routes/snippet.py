"""`GET /freshgate.js`: the script for pages of shops without a CDP. It posts to `tracking_api.py`.

docs/BROWSER.md says how a page uses it.
"""

from __future__ import annotations

import gzip
from hashlib import sha256
from pathlib import Path

from flask import Flask, Response, request

FILE = Path(__file__).with_name("freshgate.js")


def add_snippet(app: Flask) -> None:
    """The script, packed once; any page may load it, since it holds nothing."""
    plain = FILE.read_bytes()
    packed = gzip.compress(plain, 9, mtime=0)
    tag = sha256(plain).hexdigest()[:16]

    @app.get("/freshgate.js")
    def snippet() -> Response:
        zipped = request.accept_encodings["gzip"] > 0
        response = Response(packed if zipped else plain, mimetype="text/javascript")
        if zipped:
            response.headers["Content-Encoding"] = "gzip"
        response.headers["Cache-Control"] = "public, max-age=3600"
        response.headers["Vary"] = "Accept-Encoding"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.set_etag(tag, weak=True)
        response.make_conditional(request)
        return response
