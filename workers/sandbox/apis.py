"""The APIs that the sandbox plays, in one table.

`server.py` asks which one a call is for. A new one is a file such as `resend_api.py`, and its line here.
"""

from __future__ import annotations

import re

from workers.sandbox.api import Api
from workers.sandbox.hook_api import HOOK_APIS
from workers.sandbox.lambda_api import INVOKE_API
from workers.sandbox.mailchimp_marketing_api import EVENTS_API, MEMBERS_API, STEPS_API
from workers.sandbox.mailchimp_transactional_api import SEND_TEMPLATE_API
from workers.sandbox.outcomes_api import OUTCOME_APIS
from workers.sandbox.postmark_api import EMAIL_API, EMAIL_BATCH_API
from workers.sandbox.resend_api import EMAILS_API, EMAILS_BATCH_API
from workers.sandbox.sendgrid_api import MAIL_SEND_API
from workers.sandbox.ses_api import SEND_BULK_EMAIL_API, SEND_EMAIL_API

APIS: tuple[Api, ...] = (
    MAIL_SEND_API,
    SEND_TEMPLATE_API,
    MEMBERS_API,
    EVENTS_API,
    STEPS_API,
    SEND_EMAIL_API,
    SEND_BULK_EMAIL_API,
    EMAILS_API,
    EMAILS_BATCH_API,
    EMAIL_API,
    EMAIL_BATCH_API,
    INVOKE_API,
    *HOOK_APIS,
    *OUTCOME_APIS,
)
# What takes mails without HTTP: `smtp_server.py`.
SMTP = "smtp"
PROVIDERS = tuple(dict.fromkeys([*(api.provider for api in APIS), SMTP]))


def find_api(method: str, path: str) -> tuple[Api, re.Match[str]] | None:
    """The API of a call and the match of its path; None for a path of none. Another method of its path is found too."""
    matches = [(api, match) for api in APIS if (match := re.fullmatch(api.path, path))]
    return next((pair for pair in matches if pair[0].method == method), next(iter(matches), None))
