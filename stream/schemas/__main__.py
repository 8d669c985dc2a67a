"""``python -m stream.schemas [FOLDER]`` writes the contract files, by default into ``schemas/`` here."""

import sys
from pathlib import Path

from stream.schemas.asyncapi import contract_files

if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2] / "schemas"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contract_files().items():
        (folder / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{folder / name}\n")
