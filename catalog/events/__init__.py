"""Every event type there is: a new one is one file beside this one, and one line in this table.

The engine reads EVENTS only; which CDP spells them how stands in each file.
"""

from __future__ import annotations

from catalog.events.account_created import ACCOUNT_CREATED
from catalog.events.alias import ALIAS
from catalog.events.cart_shared import CART_SHARED
from catalog.events.cart_viewed import CART_VIEWED
from catalog.events.checkout_started import CHECKOUT_STARTED
from catalog.events.checkout_step_completed import CHECKOUT_STEP_COMPLETED
from catalog.events.checkout_step_viewed import CHECKOUT_STEP_VIEWED
from catalog.events.coupon_applied import COUPON_APPLIED
from catalog.events.coupon_denied import COUPON_DENIED
from catalog.events.coupon_entered import COUPON_ENTERED
from catalog.events.coupon_removed import COUPON_REMOVED
from catalog.events.delete import DELETE
from catalog.events.email_bounced import EMAIL_BOUNCED
from catalog.events.email_delivered import EMAIL_DELIVERED
from catalog.events.email_link_clicked import EMAIL_LINK_CLICKED
from catalog.events.email_marked_as_spam import EMAIL_MARKED_AS_SPAM
from catalog.events.email_opened import EMAIL_OPENED
from catalog.events.group import GROUP
from catalog.events.identify import IDENTIFY
from catalog.events.order_cancelled import ORDER_CANCELLED
from catalog.events.order_completed import ORDER_COMPLETED
from catalog.events.order_refunded import ORDER_REFUNDED
from catalog.events.order_updated import ORDER_UPDATED
from catalog.events.page import PAGE
from catalog.events.payment_info_entered import PAYMENT_INFO_ENTERED
from catalog.events.product_added import PRODUCT_ADDED
from catalog.events.product_added_to_wishlist import PRODUCT_ADDED_TO_WISHLIST
from catalog.events.product_clicked import PRODUCT_CLICKED
from catalog.events.product_list_filtered import PRODUCT_LIST_FILTERED
from catalog.events.product_list_viewed import PRODUCT_LIST_VIEWED
from catalog.events.product_removed import PRODUCT_REMOVED
from catalog.events.product_removed_from_wishlist import PRODUCT_REMOVED_FROM_WISHLIST
from catalog.events.product_reviewed import PRODUCT_REVIEWED
from catalog.events.product_shared import PRODUCT_SHARED
from catalog.events.product_viewed import PRODUCT_VIEWED
from catalog.events.products_searched import PRODUCTS_SEARCHED
from catalog.events.promotion_clicked import PROMOTION_CLICKED
from catalog.events.promotion_viewed import PROMOTION_VIEWED
from catalog.events.screen import SCREEN
from catalog.events.signed_in import SIGNED_IN
from catalog.events.signed_out import SIGNED_OUT
from catalog.events.signed_up import SIGNED_UP
from catalog.events.trial_ended import TRIAL_ENDED
from catalog.events.trial_started import TRIAL_STARTED
from catalog.events.unsubscribed import UNSUBSCRIBED
from catalog.events.wishlist_product_added_to_cart import WISHLIST_PRODUCT_ADDED_TO_CART

EVENTS = (
    IDENTIFY,
    PAGE,
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
    EMAIL_MARKED_AS_SPAM,
    UNSUBSCRIBED,
)
