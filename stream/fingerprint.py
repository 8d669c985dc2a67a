"""Fingerprint of a checkpoint: what tells one from another. It needs the standard library alone."""

import hashlib
from pathlib import Path

# All that decides a checkpoint's answers.
_HASHED = "config.json", "ner_config.json", "tokenizer.json", "*.safetensors"
_CHUNK = 1 << 22


def checkpoint_sha256(model: Path) -> str:
    """SHA-256 over names, sizes and bytes of a model folder's files, in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(file for pattern in _HASHED for file in model.glob(pattern)):
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as content:
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
