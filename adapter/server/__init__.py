"""The gunicorn worker of the receiver: it reads whole requests, within bounds, before a thread works on one."""
