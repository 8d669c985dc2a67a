"""What a check found."""

from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """How bad it is: ``warn`` limits what can be done, ``fail`` keeps the service from working."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check-up.

    Attributes:
        subject: What was looked at.
        found: What is so.
        mend: What to do about it; empty when it is ok.
    """

    grade: Grade
    subject: str
    found: str
    mend: str = ""


def ok(subject: str, found: str) -> Finding:
    """All is well."""
    return Finding(Grade.OK, subject, found)


def warn(subject: str, found: str, mend: str) -> Finding:
    """It works, but not all of it or not well."""
    return Finding(Grade.WARN, subject, found, mend)


def fail(subject: str, found: str, mend: str) -> Finding:
    """It will not work so."""
    return Finding(Grade.FAIL, subject, found, mend)
