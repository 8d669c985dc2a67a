"""``python -m stream.schemas`` writes ``schemas/``, ``clients/`` and ``docs/settings.md``."""

import sys
from pathlib import Path

from stream.schemas.asyncapi import contract_files
from stream.schemas.clients import client_files
from stream.schemas.settings_page import settings_page

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2]
    contract = contract_files()
    files = {root / "schemas" / name: text for name, text in contract.items()}
    files |= {root / "clients" / name: text for name, text in client_files(contract).items()}
    files[root / "docs" / "settings.md"] = settings_page()
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")
