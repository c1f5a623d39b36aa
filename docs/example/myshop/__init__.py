"""The shop's own code; `catalog/` is what Freshgate reads of it."""
