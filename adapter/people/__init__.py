"""The People API: what is known of a person right now, for mail templates, sites and support.

`routes/people.py` has the URLs; `lookup.py` finds a person, `document.py` says what is shown, `caches.py` spares work.
"""
