"""Write a folder that ModelOpt calibrates on, from documents as the service reads them.

TensorRT-LLM's ``quantize.py`` takes a folder that ``datasets`` loads, with a split ``train`` and a column
``text``. It needs the standard library alone.

    python3 calibration_texts.py DOCUMENTS.jsonl[.gz] FOLDER
"""

import gzip
import json
import sys
from pathlib import Path

TEXTS = 512  # samples that quantize.py draws
FEWEST = 32  # AWQ takes so many whatever is asked for


def texts_of(documents: Path) -> list[str]:
    """The first texts of a file of documents, a JSON object with ``text`` a line.

    Raises:
        ValueError: A line is no document, or there are too few.
    """
    texts: list[str] = []
    opened = gzip.open if documents.suffix == ".gz" else open
    with opened(documents, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if len(texts) == TEXTS:
                break
            match json.loads(line):
                case {"text": str(text)}:
                    if text.strip():
                        texts.append(text)
                case _:
                    raise ValueError(f'line {number} of {documents} is no object with a string "text"')
    if len(texts) < FEWEST:
        raise ValueError(f"{documents} holds {len(texts)} texts; calibration needs {FEWEST} or more")
    return texts


def main() -> int:
    """Write the folder that the command line names; returns 1 where the documents do not serve."""
    documents, folder = map(Path, sys.argv[1:])
    try:
        texts = texts_of(documents)
    except (OSError, ValueError) as error:
        print(f"no calibration: {error}", file=sys.stderr)
        return 1
    folder.mkdir(parents=True)
    with (folder / "train.jsonl").open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
