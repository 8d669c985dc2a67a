"""Annotated documents from one format into another, with nothing left out in silence."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stream.corpora.document import AnnotatedDocument, first_overlap, outermost, twice_marked
from stream.corpora.formats import Format
from stream.corpora.parsing import DEFAULTS, Nested, Options, ParsedDocument, Problem, quoted
from stream.errors import ConfigurationError

_SHOWN_PROBLEMS = 10


@dataclass(frozen=True, slots=True)
class Conversion:
    """A way of documents from one format into another.

    Attributes:
        source: The format to read.
        target: The format to write.
        options: Choices that the formats leave open.
        nested: The treatment of entities that overlap.
        labels: The labels allowed; None allows all.
        skip_bad: Leave out documents with problems. By default one problem stops the conversion.
    """

    source: Format
    target: Format
    options: Options = DEFAULTS
    nested: Nested = Nested.KEEP
    labels: Sequence[str] | None = None
    skip_bad: bool = False

    def run(self, from_path: Path, to_path: Path) -> "ConversionReport":
        """Convert a file.

        Raises:
            ConfigurationError: A file cannot be read or written, no document is left, or there are problems
                and ``skip_bad`` is not set; then nothing is written.
        """
        for name in ("columns", "offsets"):
            if getattr(self.options, name) is not None and name not in self.source.heeds:
                raise ConfigurationError(
                    f"--{name} does not apply to {self.source.name}, the format of {from_path}"
                )
        report = ConversionReport()
        documents = []
        for parsed in self.source.read(from_path, self.options):
            problems = parsed.problems or tuple(self._problems(parsed))
            if parsed.document is None or problems:
                report.leave_out(problems)
                continue
            document = self._without_nested(parsed.document)
            documents.append(document)
            report.add(document, len(parsed.document.entities))
        if report.problems and not self.skip_bad:
            raise ConfigurationError(report.complaint())
        if not documents:
            raise ConfigurationError(f"{from_path} holds no document that can be converted")
        self.target.write(documents, to_path, self.options)
        return report

    def _without_nested(self, document: AnnotatedDocument) -> AnnotatedDocument:
        return outermost(document) if self.nested is Nested.OUTERMOST else document

    def _problems(self, parsed: ParsedDocument) -> Iterator[Problem]:
        """Reasons why the target cannot take a document."""
        if parsed.document is None:
            return
        for number, entity in enumerate(parsed.document.entities):
            if self.labels is not None and entity.label not in self.labels:
                reason = f"label {quoted(entity.label)} of entity {quoted(entity.text)} is not among --labels"
                yield Problem(parsed.place_of(number), reason)
        repeated = twice_marked(parsed.document.entities)
        if repeated:
            at = f"{repeated.start}-{repeated.end}"
            reason = f"entity {quoted(repeated.text)} at {at} is marked twice as {repeated.label}"
            yield Problem(parsed.place, reason)
            return
        document = self._without_nested(parsed.document)
        yield from self._overlap(parsed, document)
        for reason in self.target.obstacles(document, self.options):
            yield Problem(parsed.place, reason)

    def _overlap(self, parsed: ParsedDocument, document: AnnotatedDocument) -> Iterator[Problem]:
        if self.target.overlap and self.nested is not Nested.REFUSE:
            return
        pair = first_overlap(document.entities)
        if pair is None:
            return
        left, right = (f"{quoted(each.text)} ({each.label}, {each.start}-{each.end})" for each in pair)
        cause = "" if self.nested is Nested.REFUSE else f", and {self.target.name} holds no overlap"
        if cause and len(outermost(document).entities) < len(document.entities):
            cause += " (--nested outermost leaves out what lies within another)"
        yield Problem(parsed.place, f"entities {left} and {right} overlap{cause}")


@dataclass(slots=True)
class ConversionReport:
    """Documents converted and left out.

    Attributes:
        documents: Documents written.
        entities: Entities in them.
        labels: Entities by label, in the order of first use.
        skipped: Documents left out.
        nested: Entities left out since they lie within another.
        problems: The reasons why documents were left out, all of them.
    """

    documents: int = 0
    entities: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    nested: int = 0
    problems: list[Problem] = field(default_factory=list)

    def add(self, document: AnnotatedDocument, entities_before: int) -> None:
        """Count a document that is written; ``entities_before`` includes nested ones that were left out."""
        self.documents += 1
        self.entities += len(document.entities)
        self.nested += entities_before - len(document.entities)
        self.labels.update(entity.label for entity in document.entities)

    def leave_out(self, problems: Sequence[Problem]) -> None:
        """Count a document that is left out."""
        self.skipped += 1
        self.problems += problems

    def complaint(self) -> str:
        """The first problems, one a line, and how many there are."""
        total = self.skipped + self.documents
        head = (
            f"{self.skipped} of {total} documents are bad; nothing was written (--skip-bad leaves them out):"
        )
        shown = [str(problem) for problem in self.problems[:_SHOWN_PROBLEMS]]
        more = len(self.problems) - len(shown)
        return "\n  ".join([head, *shown, *([f"and {more} more"] if more else [])])
