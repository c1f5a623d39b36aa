"""The table of triggers. A new one is a file beside this one, and a line in TRIGGERS.

Each file says when its mail is sent and when not. The rules for all mails (an address is known and does not bounce,
the mail was not sent before, …) stand in README.md, "What is checked before each mail". docs/EVENTS.md compares all
triggers in one table.
"""

from .abandoned_cart import ABANDONED_CART
from .browse_abandonment import BROWSE_ABANDONMENT
from .order_confirmation import ORDER_CONFIRMATION
from .welcome import WELCOME

TRIGGERS = (ORDER_CONFIRMATION, WELCOME, ABANDONED_CART, BROWSE_ABANDONMENT)
