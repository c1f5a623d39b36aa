"""The receiver as an AWS Lambda function: handler `handler.handler`, for API Gateway's HTTP APIs and function URLs.

docs/SERVERLESS.md says how it is packed, and what else is needed.
"""

from __future__ import annotations

from apig_wsgi import make_lambda_handler

from adapter.app import from_environment
from freshgate.state.connections import FailoverPool

# Between two events it is frozen, for a time that its clocks may not show: no connection is used without a look at it.
FailoverPool.recent_s = 0.0
# Built once for each execution environment: what it opens, such as connections to Redis, serves all its events.
handler = make_lambda_handler(from_environment())
