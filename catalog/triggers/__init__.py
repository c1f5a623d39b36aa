"""The visible table of triggers. Adding one is a file here and a line below."""

from .abandoned_cart import ABANDONED_CART
from .browse_abandonment import BROWSE_ABANDONMENT
from .order_confirmation import ORDER_CONFIRMATION
from .welcome import WELCOME

TRIGGERS = (ORDER_CONFIRMATION, WELCOME, ABANDONED_CART, BROWSE_ABANDONMENT)
