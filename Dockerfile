# One image, three commands: the receiver (the default), `python -m workers deliver` and `python -m workers timers`.
# Runs as an unprivileged user, on a read-only root; it writes to FRESHGATE_VAR and /dev/shm only.

FROM python:3.11.15-slim-bookworm@sha256:d29f48a31a8b408ed19272ca1e7b10ebae13b240a27e862d3d4217c528e2e0c3 AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv --without-pip /opt/venv
COPY requirements.txt /tmp/requirements.txt
# Wheels only, so that no stage needs a compiler.
RUN pip --python /opt/venv/bin/python install --require-hashes --only-binary=:all: -r /tmp/requirements.txt
# `--build-arg EXTRAS="aws memcached"`: what the kinds `ses` and `lambda` need, and what a cache in Memcached needs.
ARG EXTRAS=""
COPY requirements-aws.txt /tmp/requirements-aws.txt
COPY requirements-memcached.txt /tmp/requirements-memcached.txt
RUN for extra in ${EXTRAS}; do \
      pip --python /opt/venv/bin/python install --require-hashes --only-binary=:all: --no-deps -r "/tmp/requirements-${extra}.txt" || exit 1; \
    done
WORKDIR /app
COPY freshgate freshgate
COPY adapter adapter
COPY workers workers
COPY catalog catalog
COPY freshgate_cli freshgate_cli
COPY deploy/probe.py deploy/probe.py
COPY deploy/freshgate /opt/venv/bin/freshgate
# The root is read-only at run time, so the byte code must be written now.
RUN python -m compileall -q /opt/venv/lib freshgate adapter workers catalog freshgate_cli


FROM python:3.11.15-slim-bookworm@sha256:d29f48a31a8b408ed19272ca1e7b10ebae13b240a27e862d3d4217c528e2e0c3
LABEL org.opencontainers.image.title="freshgate" \
      org.opencontainers.image.description="CDP webhooks in, fresh mails out" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FRESHGATE_HOST=0.0.0.0 \
    FRESHGATE_VAR=/var/lib/freshgate
# The last line is for the store's copies and data: a new volume takes owner and mode from the image.
RUN groupadd --system --gid 10001 freshgate \
 && useradd --system --uid 10001 --gid freshgate --home-dir /app --no-create-home --shell /usr/sbin/nologin freshgate \
 && install --directory --owner=freshgate --group=freshgate --mode=0700 /var/lib/freshgate \
 && install --directory --owner=999 --group=1000 --mode=0700 /var/backups/freshgate /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
USER 10001:10001
EXPOSE 8080
# For the default command. docker-compose.yml checks the other two on their metrics ports.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-IS", "deploy/probe.py", "http://127.0.0.1:8080/readyz"]
CMD ["gunicorn", "-c", "python:adapter.gunicorn_conf", "adapter.app:from_environment()"]
