"""What tests drive the product with.

`system.py` runs all of it as its user would.
"""
