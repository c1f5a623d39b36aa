"""Segment's webhooks, and those who speak like them: RudderStack, Hightouch, Customer.io's data pipelines."""
