"""Output of a run that may be interrupted: one line a text, in the order of the texts.

Beside ``OUT`` there are ``OUT.partial``, the lines so far, and ``OUT.run``, the question they answer. A line
counts once its line feed is there, so a run that was killed goes on behind the last whole one, and repeats or
skips nothing. Both files are gone when ``OUT`` is complete.
"""

import fcntl
import gzip
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from stream.corpora.conversion import Conversion
from stream.corpora.formats import FORMATS, Format
from stream.corpora.parsing import Nested
from stream.errors import ConfigurationError

_ERROR = '{"error":'


class PartialOutput:
    """Lines of a run on their way into a file; use it in a ``with`` block.

    Args:
        out: The file to write, for brat a folder.
        target: Its format.
        question: All that decides the lines; a run with another one does not go on with these.
        skip_bad: Leave out what the format cannot hold.

    Attributes:
        done: Lines that were there already.
        bad: Lines that say why a text has no entities.

    Raises:
        ConfigurationError: On entry: it cannot be written, another run writes it, or it has another question.
    """

    def __init__(self, out: Path, target: Format, question: Mapping[str, Any], *, skip_bad: bool) -> None:
        self._out = out
        self._target = target
        self._question = json.dumps(question, sort_keys=True)
        self._skip_bad = skip_bad
        self._partial = out.with_name(f"{out.name}.partial")
        self._run = out.with_name(f"{out.name}.run")
        self.done = self.bad = 0

    def __enter__(self) -> Self:
        try:
            self._file: BinaryIO = self._partial.open("ab+")
        except OSError as error:
            raise ConfigurationError(f"{self._partial} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._take_up()
        except OSError as error:
            self._file.close()
            raise ConfigurationError(f"another run writes {self._out} at this moment") from error
        except ConfigurationError:
            self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, line: Mapping[str, Any]) -> None:
        """Append the line of the next text."""
        self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")

    def add_bad(self, reason: str) -> None:
        """Append the line of a text that has no entities for some reason; the output leaves it out."""
        self.bad += 1
        self._file.write(
            json.dumps({"error": reason}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        )

    def flush(self) -> None:
        """Let the lines so far survive the end of this process."""
        self._file.flush()

    def complete(self) -> None:
        """Make the output of the lines, which are all there.

        Raises:
            ConfigurationError: The format cannot hold a document; the lines stay.
        """
        self._file.flush()
        lines = self._partial
        if self.bad:
            lines = self._out.with_name(f"{self._out.name}.good")
            self._copy_good(lines)
        if self._target is FORMATS["jsonl"]:
            self._deliver(lines)
        else:
            nested = Nested.KEEP if self._target.overlap else Nested.OUTERMOST
            Conversion(FORMATS["jsonl"], self._target, nested=nested, skip_bad=self._skip_bad).run(
                lines, self._out
            )
        for each in (lines, self._partial, self._run):
            each.unlink(missing_ok=True)

    def _take_up(self) -> None:
        """Go on with the lines that are there, or begin."""
        if self._run.exists():
            if self._run.read_text("utf-8") != self._question:
                raise ConfigurationError(
                    f"{self._partial} holds a part of another run (other files, options or model): finish "
                    f"that one, or remove {self._partial} and {self._run}"
                )
        elif self._partial.stat().st_size:
            raise ConfigurationError(f"{self._partial} is in the way, and is not of a run: move it")
        else:
            self._run.write_text(self._question, "utf-8")
        self._file.seek(0)
        whole = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            self.done += 1
            self.bad += line.startswith(_ERROR.encode())
        self._file.truncate(whole)

    def _copy_good(self, target: Path) -> None:
        with self._partial.open("rb") as lines, target.open("wb") as good:
            good.writelines(line for line in lines if not line.startswith(_ERROR.encode()))

    def _deliver(self, lines: Path) -> None:
        if self._out.suffix != ".gz":
            lines.replace(self._out)
            return
        zipped = self._out.with_name(f"{self._out.name}.zipped")
        with lines.open("rb") as plain, gzip.GzipFile(zipped, "wb", mtime=0) as packed:
            shutil.copyfileobj(plain, packed)
        zipped.replace(self._out)
