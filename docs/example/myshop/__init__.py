"""A shop's own package. Freshgate reads `catalog/` of it, nothing else."""
