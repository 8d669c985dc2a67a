"""A slow reference decoder in plain numpy: no KV cache, everything computed again for each token."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from stream.generation import Completion, Prompt

Array = NDArray[np.float64]


class SlowDecoder:
    """Greedy decoding of one prompt at a time, in double precision, straight from the files."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        self.gemma = self.config["model_type"] == "gemma3_text"
        self.weights = {
            name: tensor.astype(np.float64)
            for name, tensor in load_file(folder / "model.safetensors").items()
        }

    def complete(self, prompt: Prompt, forced: tuple[int, ...] | None = None) -> Completion:
        """Continue a prompt, with the forced answer when there is one."""
        ids, produced, log_probs = list(prompt.ids), [], []
        while len(produced) < prompt.max_new_tokens:
            log_probabilities = self.log_probabilities(ids)
            token = int(log_probabilities.argmax())
            if forced is not None:
                token = (*forced, prompt.end_id)[len(produced)]
            if token == prompt.end_id:
                break
            ids.append(token)
            produced.append(token)
            log_probs.append(float(log_probabilities[token]))
            if token in prompt.stop_ids:
                break
        return Completion(tuple(produced), tuple(log_probs))

    def log_probabilities(self, ids: list[int]) -> Array:
        """Of the token after ``ids``, over the vocabulary."""
        embedding = self.weights["model.embed_tokens.weight"]
        hidden = embedding[ids]
        if self.gemma:
            hidden = hidden * self.config["hidden_size"] ** 0.5
        for layer in range(self.config["num_hidden_layers"]):
            at = f"model.layers.{layer}."
            attended = self._attention(layer, self._norm(hidden, at + "input_layernorm.weight"))
            if self.gemma:
                hidden = hidden + self._norm(attended, at + "post_attention_layernorm.weight")
                fed = self._mlp(at + "mlp.", self._norm(hidden, at + "pre_feedforward_layernorm.weight"))
                hidden = hidden + self._norm(fed, at + "post_feedforward_layernorm.weight")
            else:
                hidden = hidden + attended
                normed = self._norm(hidden, at + "post_attention_layernorm.weight")
                hidden = hidden + self._mlp(at + "mlp.", normed)
        head = embedding if self.config["tie_word_embeddings"] else self.weights["lm_head.weight"]
        logits: Array = head @ self._norm(hidden, "model.norm.weight")[-1]
        logits = logits - logits.max()
        return logits - np.log(np.exp(logits).sum())

    def _linear(self, name: str, values: Array) -> Array:
        return values @ self.weights[f"{name}.weight"].T + self.weights.get(f"{name}.bias", 0.0)

    def _norm(self, values: Array, name: str) -> Array:
        scale = np.sqrt((values**2).mean(axis=-1, keepdims=True) + self.config["rms_norm_eps"])
        return values / scale * (self.weights[name] + self.gemma)

    def _mlp(self, at: str, values: Array) -> Array:
        gate = self._linear(at + "gate_proj", values)
        if self.gemma:
            active = gate / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
        else:
            active = gate / (1 + np.exp(-gate))
        return self._linear(at + "down_proj", active * self._linear(at + "up_proj", values))

    def _attention(self, layer: int, values: Array) -> Array:
        at, width = f"model.layers.{layer}.self_attn.", self.config["head_dim"]
        query, key, value = (
            self._linear(f"{at}{part}_proj", values).reshape(len(values), -1, width) for part in "qkv"
        )
        if f"{at}q_norm.weight" in self.weights:
            query, key = self._norm(query, f"{at}q_norm.weight"), self._norm(key, f"{at}k_norm.weight")
        base = self.config["rope_theta"]
        if self.gemma and (layer + 1) % self.config["sliding_window_pattern"]:
            base = self.config["rope_local_base_freq"]
        query, key = self._rotated(query, base), self._rotated(key, base)
        group = query.shape[1] // key.shape[1]
        seen = np.tri(len(values), dtype=bool)
        heads = []
        for head in range(query.shape[1]):
            scores = query[:, head] @ key[:, head // group].T
            scores = scores / np.sqrt(self.config.get("query_pre_attn_scalar", width))
            scores = np.exp(
                np.where(seen, scores, -np.inf) - np.where(seen, scores, -np.inf).max(-1, keepdims=True)
            )
            heads.append(scores / scores.sum(-1, keepdims=True) @ value[:, head // group])
        return self._linear(f"{at}o_proj", np.concatenate(heads, axis=-1))

    def _rotated(self, heads: Array, base: float) -> Array:
        half = heads.shape[-1] // 2
        steps = base ** (-np.arange(half) / half)
        angles = np.arange(len(heads))[:, None, None] * self._scaled(steps)
        first, second = heads[..., :half], heads[..., half:]
        return np.concatenate(
            [
                first * np.cos(angles) - second * np.sin(angles),
                second * np.cos(angles) + first * np.sin(angles),
            ],
            -1,
        )

    def _scaled(self, steps: Array) -> Array:
        scaling = self.config.get("rope_scaling")
        if not scaling:
            return steps
        factor, original = scaling["factor"], scaling["original_max_position_embeddings"]
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        scaled = []
        for step in steps:
            wavelength = 2 * np.pi / step
            if wavelength < original / high:
                scaled.append(step)
            elif wavelength > original / low:
                scaled.append(step / factor)
            else:
                smooth = (original / wavelength - low) / (high - low)
                scaled.append((1 - smooth) * step / factor + smooth * step)
        return np.array(scaled)
