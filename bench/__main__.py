"""`python -m bench`: every measurement there is, one after the other."""

from __future__ import annotations

from bench import memory, reading

print("reading one event, against json.loads of the same bytes")
reading.main()
print("\nmemory")
memory.main()
