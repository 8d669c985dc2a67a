"""Plain greedy decoding as transformers does it, a prompt at a time: slow and obvious."""

from collections.abc import Iterator
from pathlib import Path

from stream.generation import Completion, Prompt


def plain_greedy(folder: Path, prompts: list[Prompt]) -> Iterator[Completion]:
    """What transformers says to each prompt by itself."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for prompt in prompts:
        ids = torch.tensor([prompt.ids])
        with torch.inference_mode():
            output = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=prompt.max_new_tokens,
                eos_token_id=[prompt.end_id, *prompt.stop_ids],
                pad_token_id=prompt.end_id,
                output_logits=True,
                return_dict_in_generate=True,
            )
        chosen = output.sequences[0, len(prompt.ids) :].tolist()
        if chosen[-1] == prompt.end_id:
            chosen.pop()
        log_probs = [
            logits[0].log_softmax(-1)[token].item()
            for logits, token in zip(output.logits, chosen, strict=False)
        ]
        yield Completion(tuple(chosen), tuple(log_probs))
