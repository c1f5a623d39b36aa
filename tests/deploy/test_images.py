"""deploy/images.py, the step of a release that compares digests of images: with a registry's answers made up here.

No Docker ran here; `digest_of` is what it would be asked.
"""

from __future__ import annotations

from deploy.images import FILES, IMAGE, compare, pin
from tests.deploy.stack import FRESHGATE_SERVICES, ROOT, compose

NEW = "sha256:" + "1" * 64
OLD = "sha256:" + "2" * 64
TEXT = f"""\
FROM python:3.11.15-slim-bookworm@{OLD} AS build
FROM python:3.11.15-slim-bookworm@{NEW}
    image: valkey/valkey:9.1.1-alpine
  image: freshgate:0.1.0
# image: no/image:1
"""


def test_a_digest_that_differs_and_an_image_without_one_are_named() -> None:
    assert compare(TEXT, lambda image: NEW) == [
        f"python:3.11.15-slim-bookworm: {OLD}, the registry has {NEW}",
        f"valkey/valkey:9.1.1-alpine: not pinned, the registry has {NEW}",
    ]


def test_what_is_written_is_what_the_registry_says_and_our_own_image_has_none() -> None:
    pinned = pin(TEXT, lambda image: NEW)
    assert compare(pinned, lambda image: NEW) == []
    assert pinned.count(NEW) == 3
    assert OLD not in pinned
    assert "image: freshgate:0.1.0\n" in pinned
    assert pin(pinned, lambda image: NEW) == pinned


def test_every_image_that_is_pulled_is_asked_for() -> None:
    asked = {image for name in FILES for _, image, _ in IMAGE.findall((ROOT / name).read_text(encoding="utf-8"))}
    pulled = {
        service["image"].partition("@")[0]
        for name, service in compose()["services"].items()
        if name not in FRESHGATE_SERVICES
    }
    assert asked == pulled | {"python:3.11.15-slim-bookworm"}
