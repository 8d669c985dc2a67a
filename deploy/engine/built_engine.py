"""Hold a built engine to what the service needs, and stamp it with the checkpoint it was built from.

``trtllm-build`` switches paged context attention off with no more than a warning for some quantised
checkpoints; reuse of a document's prefix is then gone. It needs the standard library alone.

    python3 built_engine.py MODEL_DIR ENGINE_DIR MAX_SEQ_LEN
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# The package need not be installed in the image: the repository is mounted.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from stream.fingerprint import checkpoint_sha256

TOKENS_PER_BLOCK = 32
STAMP = "padellm.json"


def shortcomings(config: dict[str, Any], max_seq_len: int) -> Iterator[str]:
    """A sentence for each property of an engine that the service cannot do with.

    Args:
        config: The engine's ``config.json``.
        max_seq_len: Tokens of prompt and answer that were asked for.
    """
    built, plugins = config["build_config"], config["build_config"]["plugin_config"]
    quantisation = config["pretrained_config"].get("quantization") or {}
    if not plugins.get("use_paged_context_fmha"):
        yield "it has no paged context attention: prefixes would not be shared and long prompts not be cut"
    if plugins.get("tokens_per_block") != TOKENS_PER_BLOCK:
        yield f"its cache blocks have {plugins.get('tokens_per_block')} tokens instead of {TOKENS_PER_BLOCK}"
    if str(built.get("kv_cache_type", "paged")).lower().rpartition(".")[2] != "paged":
        yield f"its KV cache is {built['kv_cache_type']} instead of paged"
    if quantisation.get("kv_cache_quant_algo"):
        yield f"its KV cache holds {quantisation['kv_cache_quant_algo']}: build it without a quantised cache"
    if built.get("max_seq_len", 0) < max_seq_len:
        yield f"it takes {built.get('max_seq_len')} tokens instead of {max_seq_len}"
    if built.get("max_beam_width", 1) != 1:
        yield f"it was built for {built['max_beam_width']} beams; decoding here is greedy"


def main() -> int:
    """Check and stamp the engine that the command line names; returns 1 where it cannot serve."""
    model, engine, max_seq_len = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    config = json.loads((engine / "config.json").read_text(encoding="utf-8"))
    found = list(shortcomings(config, max_seq_len))
    for each in found:
        print(f"the engine in {engine} cannot serve: {each}", file=sys.stderr)
    if found:
        return 1
    stamp = {"checkpoint_sha256": checkpoint_sha256(model), "tensorrt_llm": config.get("version")}
    (engine / STAMP).write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
