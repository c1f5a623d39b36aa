"""The table of event types. A new one is a file beside this one, and a line in EVENTS.

Names follow the Segment Spec. Each file says what happens, what follows from it, how every CDP spells it, and on which
page of the CDP's documentation that stands. Where no page is cited, the CDP has no such standard event: send it under
the name that the file expects, or add yours to its `when`. The engine reads nothing but EVENTS.
"""

from __future__ import annotations

from .account_created import ACCOUNT_CREATED
from .alias import ALIAS
from .cart_shared import CART_SHARED
from .cart_viewed import CART_VIEWED
from .checkout_started import CHECKOUT_STARTED
from .checkout_step_completed import CHECKOUT_STEP_COMPLETED
from .checkout_step_viewed import CHECKOUT_STEP_VIEWED
from .coupon_applied import COUPON_APPLIED
from .coupon_denied import COUPON_DENIED
from .coupon_entered import COUPON_ENTERED
from .coupon_removed import COUPON_REMOVED
from .delete import DELETE
from .email_bounced import EMAIL_BOUNCED
from .email_delivered import EMAIL_DELIVERED
from .email_link_clicked import EMAIL_LINK_CLICKED
from .email_marked_as_spam import EMAIL_MARKED_AS_SPAM
from .email_opened import EMAIL_OPENED
from .email_soft_bounced import EMAIL_SOFT_BOUNCED
from .group import GROUP
from .identify import IDENTIFY
from .order_cancelled import ORDER_CANCELLED
from .order_completed import ORDER_COMPLETED
from .order_refunded import ORDER_REFUNDED
from .order_updated import ORDER_UPDATED
from .page import PAGE
from .page_left import PAGE_LEFT
from .payment_info_entered import PAYMENT_INFO_ENTERED
from .product_added import PRODUCT_ADDED
from .product_added_to_wishlist import PRODUCT_ADDED_TO_WISHLIST
from .product_clicked import PRODUCT_CLICKED
from .product_list_filtered import PRODUCT_LIST_FILTERED
from .product_list_viewed import PRODUCT_LIST_VIEWED
from .product_removed import PRODUCT_REMOVED
from .product_removed_from_wishlist import PRODUCT_REMOVED_FROM_WISHLIST
from .product_reviewed import PRODUCT_REVIEWED
from .product_shared import PRODUCT_SHARED
from .product_viewed import PRODUCT_VIEWED
from .products_searched import PRODUCTS_SEARCHED
from .promotion_clicked import PROMOTION_CLICKED
from .promotion_viewed import PROMOTION_VIEWED
from .screen import SCREEN
from .signed_in import SIGNED_IN
from .signed_out import SIGNED_OUT
from .signed_up import SIGNED_UP
from .subscribed import SUBSCRIBED
from .subscription_started import SUBSCRIPTION_STARTED
from .trial_ended import TRIAL_ENDED
from .trial_started import TRIAL_STARTED
from .unsubscribed import UNSUBSCRIBED
from .wishlist_product_added_to_cart import WISHLIST_PRODUCT_ADDED_TO_CART

EVENTS = (
    IDENTIFY,
    PAGE,
    PAGE_LEFT,
    SCREEN,
    GROUP,
    ALIAS,
    DELETE,
    PRODUCTS_SEARCHED,
    PRODUCT_LIST_VIEWED,
    PRODUCT_LIST_FILTERED,
    PROMOTION_VIEWED,
    PROMOTION_CLICKED,
    PRODUCT_CLICKED,
    PRODUCT_VIEWED,
    PRODUCT_ADDED,
    PRODUCT_REMOVED,
    CART_VIEWED,
    CHECKOUT_STARTED,
    CHECKOUT_STEP_VIEWED,
    CHECKOUT_STEP_COMPLETED,
    PAYMENT_INFO_ENTERED,
    COUPON_ENTERED,
    COUPON_APPLIED,
    COUPON_DENIED,
    COUPON_REMOVED,
    ORDER_COMPLETED,
    ORDER_UPDATED,
    ORDER_CANCELLED,
    ORDER_REFUNDED,
    PRODUCT_ADDED_TO_WISHLIST,
    PRODUCT_REMOVED_FROM_WISHLIST,
    WISHLIST_PRODUCT_ADDED_TO_CART,
    PRODUCT_SHARED,
    CART_SHARED,
    PRODUCT_REVIEWED,
    SIGNED_UP,
    SIGNED_IN,
    SIGNED_OUT,
    ACCOUNT_CREATED,
    TRIAL_STARTED,
    TRIAL_ENDED,
    EMAIL_DELIVERED,
    EMAIL_OPENED,
    EMAIL_LINK_CLICKED,
    EMAIL_BOUNCED,
    EMAIL_SOFT_BOUNCED,
    EMAIL_MARKED_AS_SPAM,
    UNSUBSCRIBED,
    SUBSCRIBED,
    SUBSCRIPTION_STARTED,
)
