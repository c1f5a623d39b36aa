"""A health check for an image without curl: `python -IS deploy/probe.py URL` exits with 0 if the URL is served.

The Dockerfile and docker-compose.yml call it every few seconds, so it imports next to nothing. With `--show URL` it
prints what is served, for the runbooks.
"""

import sys
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

TIMEOUT_S = 2.5


def main(url: str, show: bool = False) -> int:
    """0 for 200 and 401, else 1, and one line for `docker inspect` that says what is wrong."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", parts.path or "/")
        response = connection.getresponse()
        # With 503 /readyz says what is missing; the bodies of other statuses do not help.
        reason = response.read(500).decode("utf-8", "replace") if response.status == 503 else ""
        if show and response.status == 200:
            sys.stdout.write(response.read().decode("utf-8", "replace"))
    except (OSError, HTTPException) as error:
        print(f"no answer: {type(error).__name__}")
        return 1
    finally:
        connection.close()
    # A page that asks for a password is served, too.
    if response.status in (200, 401):
        return 0
    print(f"{response.status} {reason}".strip())
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[-1], show="--show" in sys.argv[1:]))
