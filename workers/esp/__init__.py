"""The kinds of ESP, in one table: a new kind is one file and one line.

`base.py` says what each offers; `main.py` builds one for the `[esps.NAME]` of the settings.
"""

from __future__ import annotations

from msgspec.structs import replace

from freshgate.settings import EspSettings
from workers.esp.azure_function import AzureFunction
from workers.esp.base import EspKind
from workers.esp.lambda_function import LambdaFunction
from workers.esp.mailchimp_marketing import MailchimpMarketing
from workers.esp.mailchimp_transactional import MailchimpTransactional
from workers.esp.make import Make
from workers.esp.postmark import Postmark
from workers.esp.resend import Resend
from workers.esp.sendgrid import Sendgrid
from workers.esp.ses import Ses
from workers.esp.smtp import Smtp
from workers.esp.webhook import Webhook
from workers.esp.zapier import Zapier

ESPS: dict[str, EspKind] = {
    "sendgrid": Sendgrid,
    "mailchimp_transactional": MailchimpTransactional,
    "mailchimp_marketing": MailchimpMarketing,
    "ses": Ses,
    "resend": Resend,
    "postmark": Postmark,
    "smtp": Smtp,
    "zapier": Zapier,
    "make": Make,
    "lambda": LambdaFunction,
    "azure_function": AzureFunction,
    "webhook": Webhook,
}


def with_max_calls(settings: EspSettings) -> EspSettings:
    """The account's settings, with the calls at once that its ESP allows where none are set."""
    if settings.max_in_flight is not None:
        return settings
    return replace(settings, max_in_flight=ESPS[settings.kind].capabilities.max_calls)
