"""The routes, one file for each family of URLs. Only they and `app.py` know Flask."""
