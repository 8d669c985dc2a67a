#!/bin/bash
# Builds the TensorRT-LLM engine that the profile "trtllm" serves, from a Llama- or Qwen-family folder in Hugging Face's layout.
#
# Run it inside the very image that will serve the engine, on the very kind of GPU: an engine fits one TensorRT-LLM version
# and one GPU architecture. From the repository root:
#
#   docker run --rm --gpus all --shm-size=2g --ulimit memlock=-1 --ulimit stack=67108864 \
#     --user "$(id -u):$(id -g)" --env HOME=/tmp --env USER=padellm --volume "$PWD:/src" --workdir /src \
#     nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3@sha256:b097871d05da2e63178d1b91fd1199bc395f653ade4f05ab227c463ea7437007 \
#     deploy/engine/build_engine.sh
#
# A MODEL_DIR or CALIBRATION outside the repository needs a --volume of its own.
#
# Settings, from the environment (for `docker run`: --env NAME=value):
#   MODEL_DIR       what to build from               default: the bundled checkpoint; adapters are merged first
#   OUTPUT_DIR      gets engine/                     default: deploy/engine/build
#   MODEL_FAMILY    llama or qwen                    default: from the model's config.json
#   DTYPE           auto, float16 or bfloat16        default: auto, the type of the model's weights
#   QUANTIZATION    none, or one of these            default: none
#                     fp8        Ada, Hopper, Blackwell (compute capability 8.9 and up)
#                     int8_sq    Ampere to Hopper (8.0 to 9.0)
#                     int4_awq   Ampere to Hopper (8.0 to 9.0)
#                     w4a8_awq   Ada, Hopper (8.9 and 9.0)
#                     nvfp4      Blackwell (10.0 and up)
#   CALIBRATION     documents (JSONL) for it         default: none; needed for every QUANTIZATION
#   MAX_SEQ_LEN     longest prompt and answer        default: the model's max_position_embeddings
#   MAX_BATCH_SIZE  sequences decoded at once        default: 256
#   MAX_NUM_TOKENS  tokens in one pass               default: 8192
#   EXAMPLES        TensorRT-LLM's example scripts   default: /app/examples
#
# An engine that is there already is replaced when the new one is whole, and kept if the build fails.
set -o errexit -o nounset -o pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
model_dir=${MODEL_DIR:-$here/../../triton_models/checkpoints/padellm-small-en}
output_dir=${OUTPUT_DIR:-$here/build}
dtype=${DTYPE:-auto}
quantization=${QUANTIZATION:-none}
examples=${EXAMPLES:-/app/examples}

die() {
    echo "build_engine.sh: $*" >&2
    exit 1
}

# One value of the model's config.json; empty when it is not there.
config() {
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1])).get(sys.argv[2]) or "")' "$model_dir/config.json" "$1"
}

# Stops unless the compute capability lies between two: tenths, so that 8.9 is 89.
needs_capability() {
    local capability
    capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d '. ')
    [[ $capability =~ ^[0-9]+$ ]] || die "nvidia-smi names no GPU: run this where the engine will be served"
    ((capability >= $1 && capability <= $2)) ||
        die "QUANTIZATION=$quantization does not fit this GPU (compute capability ${capability%?}.${capability: -1}): see the top of this file"
}

[[ -f $model_dir/adapter_config.json && ! -f $model_dir/config.json ]] &&
    die "$model_dir is an adapter: merge it into its base first (docs/serving.md)"
[[ -f $model_dir/config.json ]] || die "$model_dir is no model folder: it holds no config.json (set MODEL_DIR)"
[[ ${TP_SIZE:-1} == 1 ]] || die "TP_SIZE=$TP_SIZE: compose serves an engine on one GPU; give each GPU its own server and engine instead"
command -v trtllm-build >/dev/null || die "trtllm-build is not here: run this inside the TensorRT-LLM Triton image (see the top of this file)"

case ${MODEL_FAMILY:-$(config model_type)} in
    llama | mistral) family=llama ;;
    qwen*) family=qwen ;;
    *) die "the model type '$(config model_type)' is neither llama nor qwen: set MODEL_FAMILY if it is one of them by another name" ;;
esac

case $quantization in
    none) ;;
    fp8) needs_capability 89 999 ;;
    int8_sq | int4_awq) needs_capability 80 90 ;;
    w4a8_awq) needs_capability 89 90 ;;
    nvfp4) needs_capability 100 999 ;;
    *) die "QUANTIZATION=$quantization is unknown: see the top of this file" ;;
esac
[[ $quantization == none || -n ${CALIBRATION:-} ]] ||
    die "QUANTIZATION=$quantization needs CALIBRATION, a file of documents like those to come"

script() {
    [[ -f $examples/$1 ]] || die "$examples has no $1: set EXAMPLES to the examples of the same TensorRT-LLM release"
    echo "$examples/$1"
}

mkdir -p "$output_dir"
work=$(mktemp -d "$output_dir/.building.XXXXXX")
trap 'rm -rf "$work"' EXIT
max_seq_len=${MAX_SEQ_LEN:-$(config max_position_embeddings)}

# 1. Hugging Face's layout, in the words of the transformers that is here, to TensorRT-LLM's.
python3 "$here/older_config.py" "$model_dir" "$work/model"
if [[ $quantization == none ]]; then
    converter=$(script "models/core/$family/convert_checkpoint.py")
    python3 "$converter" --model_dir "$work/model" --output_dir "$work/checkpoint" --dtype "$dtype"
else
    # Scales are found on sample texts. The KV cache stays in $dtype: an FP8 cache has been reported to corrupt output where
    # blocks are reused, and here nearly all of them are.
    python3 "$here/calibration_texts.py" "$CALIBRATION" "$work/texts"
    quantizer=$(script quantization/quantize.py)
    python3 "$quantizer" --model_dir "$work/model" --output_dir "$work/checkpoint" --dtype "$dtype" \
        --qformat "$quantization" --calib_dataset "$work/texts" --calib_size 512
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
    --checkpoint_dir "$work/checkpoint" \
    --output_dir "$work/engine" \
    --max_beam_width 1 \
    --max_seq_len "$max_seq_len" \
    --max_batch_size "${MAX_BATCH_SIZE:-256}" \
    --max_num_tokens "${MAX_NUM_TOKENS:-8192}" \
    --kv_cache_type paged \
    --use_paged_context_fmha enable \
    --tokens_per_block 32 \
    --multiple_profiles enable \
    --gemm_plugin "$gemm_plugin"

# 3. Whole, or not at all.
python3 "$here/built_engine.py" "$model_dir" "$work/engine" "$max_seq_len"
[[ -d $output_dir/engine ]] && mv "$output_dir/engine" "$work/replaced"
mv "$work/engine" "$output_dir/engine"

echo "The engine is in $output_dir/engine. Serve it, from the repository root:"
echo "  COMPOSE_PROFILES=gpu PADELLM_ENGINE_DIR=$output_dir/engine docker compose -f docker-compose.yml -f compose.gpu.yml up --build --detach"
