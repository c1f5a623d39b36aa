"""Signs requests to Amazon by botocore (an extra): its credentials and its Signature Version 4, and no call of its own.

`ses.py` and `lambda_function.py` sign by it; `connection.py` sends, once: botocore's own client would retry.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from freshgate.errors import EspError, SettingsError
from freshgate.outbound import parse_url
from freshgate.settings import EspSettings
from freshgate.settings_parsing import setting_name
from workers.esp.http_account import SANDBOX_KEY

INSTALL = "pip install --no-deps -r requirements-aws.txt"
# email.eu-central-1.amazonaws.com, abc.lambda-url.eu-central-1.on.aws
REGION = re.compile(r"\.([a-z]{2}(?:-[a-z]+)+-[0-9])\.")
SANDBOX_REGION = "us-east-1"


class Signer:
    """Signs calls of one service in one region. Raises SettingsError where botocore, region or credentials are missing.

    Credentials are those that botocore finds: environment, files, the role of the machine, pod or function.
    """

    def __init__(self, name: str, settings: EspSettings, service: str, url: str) -> None:
        try:
            import botocore.session
            from botocore.auth import SigV4Auth
            from botocore.awsrequest import AWSRequest
            from botocore.credentials import Credentials
        except ImportError:
            kind = setting_name("esps", name, "kind")
            raise SettingsError(f"{kind}: {settings.kind} needs botocore; install it: {INSTALL}") from None
        # At DEBUG it prints the headers that it signs, a session's token included.
        logger = logging.getLogger("botocore.auth")
        logger.setLevel(max(logger.level, logging.INFO))
        self._request, self._auth, self._service = AWSRequest, SigV4Auth, service
        self._name = name
        self._region = region_of(name, settings, url)
        if settings.live:
            self._credentials: Any = botocore.session.get_session().get_credentials()
            if self._credentials is None:
                raise SettingsError(
                    f"{setting_name('esps', name, 'live')}: no AWS credentials; set AWS_ACCESS_KEY_ID and "
                    "AWS_SECRET_ACCESS_KEY, or give this machine a role"
                )
        else:
            # The sandbox wants an access key, and takes its password for one.
            self._credentials = Credentials(settings.api_key or SANDBOX_KEY, SANDBOX_KEY)
        self._frozen: Any = None

    def prepare(self) -> None:
        """Renews credentials that are about to expire, which may take a call. Raises EspError, retryable."""
        try:
            self._frozen = self._credentials.get_frozen_credentials()
        except Exception as error:  # botocore has no class for all that a provider of credentials may raise.
            raise EspError(f"{self._name}: not sent: no credentials: {type(error).__name__}", blocked=True) from None

    def headers(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """The headers that sign this request; `headers` are signed along."""
        if self._frozen is None:
            self.prepare()
        request = self._request(method=method, url=url, data=body, headers=dict(headers))
        self._auth(self._frozen, self._service, self._region).add_auth(request)
        signed: dict[str, str] = dict(request.headers.items())
        return signed


def region_of(name: str, settings: EspSettings, url: str) -> str:
    """The setting, or what the host names. Raises SettingsError if neither does."""
    match = REGION.search(f".{parse_url(url).host}")
    region = settings.region or (match[1] if match else "")
    if not region and settings.live:
        raise SettingsError(f'{setting_name("esps", name, "region")}: write the region, such as "eu-central-1"')
    return region or SANDBOX_REGION
