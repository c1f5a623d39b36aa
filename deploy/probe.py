"""A health check for an image without curl: `python -IS deploy/probe.py URL` ends with 0 when the URL is served.

The Dockerfile and docker-compose.yml call it every few seconds, so it imports next to nothing.
"""

import sys
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

TIMEOUT_S = 2.5


def main(url: str) -> int:
    """0 for 200 and 401, 1 for everything else; one line says what is wrong, for `docker inspect`."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", parts.path or "/")
        answer = connection.getresponse()
        # /readyz says what is missing; of a page of metrics, the beginning is no help.
        told = answer.read(500).decode("utf-8", "replace") if answer.status == 503 else ""
    except (OSError, HTTPException) as error:
        print(f"no answer: {type(error).__name__}")
        return 1
    finally:
        connection.close()
    # A page that asks for a password is there, too.
    if answer.status in (200, 401):
        return 0
    print(f"{answer.status} {told}".strip())
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
