"""Everything that knows Flask, beside app.py: one file for each family of URLs."""
