"""The visible table of triggers. Adding one is a file here and a line below."""

from catalog.triggers.abandoned_cart import ABANDONED_CART
from catalog.triggers.browse_abandonment import BROWSE_ABANDONMENT
from catalog.triggers.order_confirmation import ORDER_CONFIRMATION
from catalog.triggers.welcome import WELCOME

TRIGGERS = (ORDER_CONFIRMATION, WELCOME, ABANDONED_CART, BROWSE_ABANDONMENT)
