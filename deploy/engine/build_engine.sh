#!/bin/bash
# Builds the TensorRT-LLM engine that the profile "gpu" serves, from a Llama- or Qwen-family folder in Hugging Face's layout.
#
# Run it inside the very image that will serve the engine, on the very kind of GPU: an engine fits one TensorRT-LLM version
# and one GPU architecture. From the repository root:
#
#   docker run --rm --gpus all --shm-size=2g --ulimit memlock=-1 --ulimit stack=67108864 \
#     --user "$(id -u):$(id -g)" --env HOME=/tmp --volume "$PWD:/src" --workdir /src \
#     nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3 deploy/engine/build_engine.sh
#
# Settings, from the environment (for `docker run`: --env NAME=value):
#   MODEL_DIR       what to build from               default: the bundled checkpoint
#   OUTPUT_DIR      gets checkpoint/ and engine/     default: deploy/engine/build
#   MODEL_FAMILY    llama or qwen                    default: from the model's config.json
#   DTYPE           float16 or bfloat16              default: float16, as the bundled weights are
#   QUANTIZATION    none, or fp8, int8_sq, int4_awq, w4a8_awq, nvfp4 (see below)   default: none
#   CALIBRATION     data set for QUANTIZATION        default: none; needed for fp8 and the others
#   TP_SIZE         GPUs that share the model        default: 1
#   MAX_SEQ_LEN     longest prompt and answer        default: the model's max_position_embeddings
#   MAX_BATCH_SIZE  sequences decoded at once        default: 256
#   MAX_NUM_TOKENS  tokens in one pass               default: 8192
set -o errexit -o nounset -o pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
model_dir=${MODEL_DIR:-$here/../../triton_models/checkpoints/padellm-small-en}
output_dir=${OUTPUT_DIR:-$here/build}
dtype=${DTYPE:-float16}
quantization=${QUANTIZATION:-none}
tp_size=${TP_SIZE:-1}

die() {
    echo "build_engine.sh: $*" >&2
    exit 1
}

# One value of the model's config.json; empty when it is not there.
config() {
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1])).get(sys.argv[2]) or "")' "$model_dir/config.json" "$1"
}

[[ -f $model_dir/config.json ]] || die "$model_dir is no model folder: it holds no config.json (set MODEL_DIR)"
command -v trtllm-build >/dev/null || die "trtllm-build is not here: run this inside the TensorRT-LLM Triton image (see the top of this file)"

case ${MODEL_FAMILY:-$(config model_type)} in
    llama) family=llama ;;
    qwen*) family=qwen ;;
    *) die "the model type '$(config model_type)' is neither llama nor qwen: set MODEL_FAMILY if it is one of them by another name" ;;
esac

# The image keeps TensorRT-LLM's example scripts; where exactly has changed between its releases.
find_script() {
    local found
    found=$(find /app /opt /usr/local/lib/python3* -path "*$1" -print -quit 2>/dev/null)
    [[ -n $found ]] || die "the image holds no $1; copy it from TensorRT-LLM's release of the same version"
    echo "$found"
}

checkpoint_dir=$output_dir/checkpoint
engine_dir=$output_dir/engine
rm -rf "$checkpoint_dir" "$engine_dir"
mkdir -p "$checkpoint_dir" "$engine_dir"

# 1. Hugging Face's layout to TensorRT-LLM's.
if [[ $quantization == none ]]; then
    python3 "$(find_script "/models/core/$family/convert_checkpoint.py")" \
        --model_dir "$model_dir" --output_dir "$checkpoint_dir" --dtype "$dtype" --tp_size "$tp_size"
else
    # Scales are found on sample texts: take prompts of the kind the model will see. The KV cache stays in $dtype, because an
    # FP8 cache has been reported to corrupt output where blocks are reused, and here nearly all of them are.
    [[ -n ${CALIBRATION:-} ]] || die "QUANTIZATION=$quantization needs CALIBRATION, a data set of prompts"
    python3 "$(find_script /quantization/quantize.py)" \
        --model_dir "$model_dir" --output_dir "$checkpoint_dir" --dtype "$dtype" --tp_size "$tp_size" \
        --qformat "$quantization" --calib_dataset "$CALIBRATION" --calib_size 512
fi

# 2. The engine.
#   --max_beam_width 1                 decoding is greedy
#   --max_seq_len                      prompt and answer together; windows of a document are cut to fit it
#   --max_batch_size                   a window of 4 labels is 4 counts at once, then its mentions: this many over all windows
#   --max_num_tokens                   tokens in one pass; chunked context (config.pbtxt) cuts longer prompts
#   --kv_cache_type paged,
#   --use_paged_context_fmha enable    both needed for reuse of KV blocks and for chunked context
#   --tokens_per_block 32              reuse is by whole blocks; smaller ones share more of a short text
#   --multiple_profiles enable         kernels tuned for small batches and for large ones
#   --gemm_plugin                      the plugin's kernels for 16 bits, TensorRT's own for FP8
# Logits are not gathered: log-probabilities of produced tokens need none.
gemm_plugin=auto
[[ $quantization == fp8 ]] && gemm_plugin=disable
trtllm-build \
    --checkpoint_dir "$checkpoint_dir" \
    --output_dir "$engine_dir" \
    --max_beam_width 1 \
    --max_seq_len "${MAX_SEQ_LEN:-$(config max_position_embeddings)}" \
    --max_batch_size "${MAX_BATCH_SIZE:-256}" \
    --max_num_tokens "${MAX_NUM_TOKENS:-8192}" \
    --kv_cache_type paged \
    --use_paged_context_fmha enable \
    --tokens_per_block 32 \
    --multiple_profiles enable \
    --gemm_plugin "$gemm_plugin" \
    --workers "$tp_size"

echo "The engine is in $engine_dir. Serve it, from the repository root:"
echo "  COMPOSE_PROFILES=gpu PADELLM_ENGINE_DIR=$engine_dir docker compose -f docker-compose.yml -f compose.gpu.yml up --build --detach"
