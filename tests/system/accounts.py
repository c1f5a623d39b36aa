"""The product with two ESP accounts, each with an ESP of the test's own (`tests/harness/esp_server.py`)."""

from __future__ import annotations

from tests.harness.esp_server import EspServer
from tests.harness.system import System
from tests.system.conftest import SHORT


class Accounts:
    """The product with the accounts `shop`, for confirmations, and `news`, for everything else, and their ESPs."""

    def __init__(self, shop: EspServer, news: EspServer, **settings: str) -> None:
        self.shop, self.news = shop, news
        environ = SHORT | {
            "FRESHGATE_CONFIG": "/dev/null",
            **{f"FRESHGATE_SOURCES__{name}__KIND": name.lower() for name in ("SEGMENT", "TEALIUM", "MPARTICLE")},
            **{f"FRESHGATE_ESPS__{name}__KIND": "sendgrid" for name in ("SHOP", "NEWS")},
            "FRESHGATE_ESPS__SHOP__BASE_URL": shop.url,
            "FRESHGATE_ESPS__NEWS__BASE_URL": news.url,
            **{f"FRESHGATE_ESPS__{name}__TIMEOUT_S": "1" for name in ("SHOP", "NEWS")},
            "FRESHGATE_TRIGGERS__ORDER_CONFIRMATION__ESP": "shop",
            **settings,
        }
        del environ["FRESHGATE_ESPS__SENDGRID__TIMEOUT_S"]
        self.system = System(environ)

    def environ(self, **settings: str) -> dict[str, str]:
        """That of a further process beside the product."""
        return self.system.environ | settings
