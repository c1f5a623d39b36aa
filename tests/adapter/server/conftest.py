from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapter.feedback.signers import SendgridSigner
from tests.harness.receiver_process import Receiver

SIGNER = SendgridSigner()


@pytest.fixture(scope="module")
def receiver(redis_server: str) -> Iterator[Receiver]:
    account = {
        "FRESHGATE_ESPS__MAIL__KIND": "sendgrid",
        "FRESHGATE_ESPS__MAIL__FEEDBACK_SECRETS": SIGNER.verification_key,
    }
    with Receiver(redis_server, account) as receiver:
        yield receiver
