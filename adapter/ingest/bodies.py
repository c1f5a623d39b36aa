"""A request's body as sources read it: unpacked, and without a byte order mark.

`receive.py` asks once the bytes are verified; `routes/tracking_api.py` before, since the key may stand in the body.
"""

from __future__ import annotations

import codecs
import zlib

import msgspec

from adapter.sources.reading.salvage import BYTE_ORDER_MARK
from freshgate.errors import RequestError, TooLarge, UnsupportedBody

# zlib's numbers of gzip and of its own format; and of the bare stream, which some clients call deflate, too.
GZIP, ZLIB, BARE = 31, 15, -15
GZIP_MARK = b"\x1f\x8b"
# A file of several members is allowed, and nobody sends one. Each member copies what follows it, before anybody knows
# who the caller is.
MAX_MEMBERS = 16
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def plain_body(body: bytes, encoding: str | None, max_bytes: int, hint: str = "") -> bytes:
    """The body as its `Content-Encoding` unpacks it, without a byte order mark.

    A proxy may have unpacked it and left the header, or have lost the header: what a body begins with says so. Raises
    UnsupportedBody for an encoding other than gzip and deflate, RequestError for what is not in it, and TooLarge, with
    `hint`, before more than `max_bytes` are in memory.
    """
    encoding = (encoding or "identity").strip().lower()
    is_plain = body.lstrip(b" \t\r\n")[:1] in (b"{", b"[")
    if body.startswith(GZIP_MARK) or (encoding in ("gzip", "x-gzip") and not is_plain):
        body = _unpack(body, max_bytes, hint)
    elif encoding == "deflate" and not is_plain:
        # The first byte of zlib's format.
        body = _unpack(body, max_bytes, hint, ZLIB if body[:1] == b"\x78" else BARE, "deflate")
    elif encoding in ("gzip", "x-gzip", "deflate"):
        pass
    elif encoding != "identity":
        raise UnsupportedBody("content encoding not supported", "gzip is")
    if body[:2] in UTF_16:
        # Writers on Windows and .NET, which call it Unicode.
        body = body.decode("utf-16", "replace").encode("utf-8", "replace")
    body = body.removeprefix(BYTE_ORDER_MARK)
    return _decode_twice(body) if body[:1] == b'"' else body


def _decode_twice(body: bytes) -> bytes:
    """What a text of JSON says that holds JSON, as of a client that encodes an object, and then its text; else the body
    as it is."""
    try:
        text = msgspec.json.decode(body, type=str)
    except (msgspec.MsgspecError, ValueError):
        return body
    return text.encode("utf-8", "replace") if text.lstrip()[:1] in ("{", "[") else body


def _unpack(body: bytes, max_bytes: int, hint: str, wbits: int = GZIP, name: str = "gzip") -> bytes:
    plain = b""
    rest = body
    for _ in range(MAX_MEMBERS):
        decompressor = zlib.decompressobj(wbits=wbits)
        try:
            plain += decompressor.decompress(rest, max_bytes + 1 - len(plain))
        except zlib.error:
            raise RequestError(f"not {name}") from None
        if len(plain) > max_bytes:
            raise TooLarge(f"more than {max_bytes} bytes", hint)
        if not decompressor.eof:
            raise RequestError(f"not {name}")
        # A gzip file may have several members, and zeros behind the last.
        rest = decompressor.unused_data.lstrip(b"\0")
        if not rest:
            return plain
    raise RequestError(f"not {name}")
