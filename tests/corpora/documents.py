"""Annotated documents of every kind, and what of them a format of tokens keeps."""

from hypothesis import strategies as st

from stream.corpora.document import AnnotatedDocument, GoldEntity

LABELS = st.sampled_from(["PER", "LOC", "cell-line", "B-x", "人"])
# Letters, signs, marks, white space of every kind, and what needs two UTF-16 units.
CHARACTERS = st.one_of(
    st.sampled_from("ab  .,-'\"#|\\{}[];\t\n\r\u00a0\u2028\u3000\x1c\x85\u0301\u200d\ufeff😀中文、カ한"),
    st.characters(exclude_categories=["Cs"]),
)
TEXTS = st.text(CHARACTERS, min_size=1, max_size=40)
IDS = st.one_of(st.just(""), st.text(CHARACTERS, max_size=8))


def document(text: str, *spans: tuple[int, int, str], name: str = "") -> AnnotatedDocument:
    """A document with entities at these places."""
    entities = [GoldEntity(start=s, end=e, text=text[s:e], label=label) for s, e, label in spans]
    return AnnotatedDocument(id=name, text=text, entities=entities)


@st.composite
def documents(draw: st.DrawFn, *, overlap: bool = True, edges: bool = True) -> AnnotatedDocument:
    """A document; its entities may ``overlap``, and have white space at their ``edges``, or not."""
    text = draw(TEXTS)
    offsets = st.integers(0, len(text))
    spans = draw(st.lists(st.tuples(offsets, offsets, LABELS), max_size=5, unique_by=lambda span: span[:2]))
    kept = []
    for start, end, label in spans:
        found = text[start:end]
        clear = overlap or not any(start < other_end and other < end for other, other_end, _ in kept)
        if found and clear and (edges or found == found.strip()):
            kept.append((start, end, label))
    return document(text, *kept, name=draw(IDS))


def without_space(document: AnnotatedDocument) -> tuple[str, list[tuple[int, int, str]]]:
    """A text without its white space, and its entities with offsets in that."""
    solid = ["".join(document.text[:at].split()) for at in range(len(document.text) + 1)]
    spans = [(len(solid[e.start]), len(solid[e.end]), e.label) for e in document.entities]
    return solid[-1], sorted(spans)


def by_place(document: AnnotatedDocument) -> list[GoldEntity]:
    """Entities in text order."""
    return sorted(document.entities, key=lambda entity: (entity.start, entity.end, entity.label))
