"""Triton's model repository with the checkpoint's stamp, by which events name the model that made them.

The images start with it: ``python3 -m stream.inference.repository MODELS FOLDER tritonserver OPTIONS`` writes
the repository anew and becomes the server. It needs the standard library alone.
"""

import json
import os
import sys
from pathlib import Path

from stream.fingerprint import checkpoint_sha256

# Parameters of a model's configuration that state its checkpoint, and the name and version in that.
STAMP = "checkpoint_sha256", "checkpoint_name", "checkpoint_version"


def write_repository(models: Path, folder: Path, checkpoint: Path) -> None:
    """Write a repository of the same models, whose configurations state the checkpoint; their code is linked.

    Args:
        models: A model repository.
        folder: Where the new one goes; files in it are replaced.
        checkpoint: Model folder that the models will serve.
    """
    stamp = _parameters(checkpoint)
    for config in models.glob("*/config.pbtxt"):
        for source in config.parent.glob("[0-9]*/*"):
            if source.name == "__pycache__":
                continue
            link = folder / source.relative_to(models)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)  # an older environment's, perhaps
            link.symlink_to(source.resolve())
        stamped = config.read_text(encoding="utf-8") + stamp
        (folder / config.relative_to(models)).write_text(stamped, encoding="utf-8")


def _parameters(checkpoint: Path) -> str:
    """The stamp, as parameters of a ``config.pbtxt``."""
    config = json.loads((checkpoint / "ner_config.json").read_text(encoding="utf-8"))
    values = checkpoint_sha256(checkpoint), config["name"], config["version"]
    return "".join(
        f'parameters {{ key: "{name}" value: {{ string_value: {json.dumps(value)} }} }}\n'
        for name, value in zip(STAMP, values, strict=True)
    )


def main() -> None:
    """Write the repository for PADELLM_MODEL, and become the server.

    A bundled model that is given by its name has no folder yet: the repository is served as it is.
    """
    models, folder, *server = sys.argv[1:]
    checkpoint = Path(os.environ.get("PADELLM_MODEL") or "")
    if (checkpoint / "ner_config.json").is_file():
        write_repository(Path(models), Path(folder), checkpoint)
    else:
        folder = models
        sys.stderr.write(f"{checkpoint} holds no ner_config.json: events will not name its checkpoint\n")
    os.execvp(server[0], [*server, f"--model-repository={folder}"])  # noqa: S606 - no shell


if __name__ == "__main__":
    main()
