"""Findings of the checks."""

from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """Severity of a finding: ``warn`` limits the service, ``fail`` keeps it from working."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        grade: Its severity.
        subject: The part that was checked.
        found: Its state.
        fix: The remedy; empty when the part is in order.
    """

    grade: Grade
    subject: str
    found: str
    fix: str = ""


def ok(subject: str, found: str) -> Finding:
    """Make a finding of a part in order."""
    return Finding(Grade.OK, subject, found)


def warn(subject: str, found: str, fix: str) -> Finding:
    """Make a finding of a part that works in part, or badly."""
    return Finding(Grade.WARN, subject, found, fix)


def fail(subject: str, found: str, fix: str) -> Finding:
    """Make a finding of a part that does not work."""
    return Finding(Grade.FAIL, subject, found, fix)
