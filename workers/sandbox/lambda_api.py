"""AWS Lambda's side of Invoke as the sandbox plays it: the function is the outbox.

`apis.py` lists it. A function URL is a hook: `hook_api.py`.
"""

from __future__ import annotations

from workers.sandbox.api import Api, Call, Refused, Reply
from workers.sandbox.hook_api import accept_document
from workers.sandbox.ses_api import error, key

# Of the payload of an Event: docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_EVENT_BYTES = 1024 * 1024


def accept(call: Call) -> tuple[list[bytes], Reply]:
    """202 for an event, 200 for a call that waits for the function."""
    if len(call.body) > MAX_EVENT_BYTES:
        raise Refused(413, "the payload is too large for an event")
    mails, _ = accept_document("lambda", call)
    is_event = call.headers.get("X-Amz-Invocation-Type") == "Event"
    return mails, (202 if is_event else 200, {}, b"" if is_event else b"null")


INVOKE_API = Api("lambda", "POST", r"/2015-03-31/functions/[^/]+/invocations", key, accept, error)
