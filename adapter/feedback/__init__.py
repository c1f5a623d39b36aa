"""The feedback of ESPs: what became of the mails, and who wants no more. One file a kind of ESP, one line here.

`routes/feedback.py` has the URLs, `ingest/feedback.py` records what a kind reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from adapter.feedback.base import FeedbackReader
from adapter.feedback.mailchimp_marketing import MailchimpMarketingFeedback
from adapter.feedback.mailchimp_transactional import MailchimpTransactionalFeedback
from adapter.feedback.postmark import PostmarkFeedback
from adapter.feedback.resend import ResendFeedback
from adapter.feedback.sendgrid import SendgridFeedback
from adapter.feedback.ses import SesFeedback
from freshgate.errors import SettingsError
from freshgate.settings import EspSettings, Settings
from freshgate.settings_parsing import setting_name

FEEDBACK: Mapping[str, Callable[[str, EspSettings], FeedbackReader]] = {
    "mailchimp_marketing": MailchimpMarketingFeedback,
    "mailchimp_transactional": MailchimpTransactionalFeedback,
    "postmark": PostmarkFeedback,
    "resend": ResendFeedback,
    "sendgrid": SendgridFeedback,
    "ses": SesFeedback,
}


def configure_feedback(settings: Settings) -> dict[str, FeedbackReader]:
    """The readers of all accounts that are set up for feedback, by name. Raises SettingsError."""
    readers = {}
    for name, esp in settings.esps.items():
        if not esp.wants_feedback:
            continue
        if esp.kind not in FEEDBACK:
            field = "feedback_secrets" if esp.feedback_secrets else "feedback_topic"
            raise SettingsError(
                f"{setting_name('esps', name, field)}: {esp.kind} reports nothing back; remove it "
                f"(these do: {', '.join(FEEDBACK)})"
            )
        readers[name] = FEEDBACK[esp.kind](name, esp)
    return readers
