"""Test kit for programs that read this service's events: see docs/testing.md."""

from stream.testing.answers import AnswerFunction, Answers
from stream.testing.harness import Harness, SyncHarness

__all__ = ["AnswerFunction", "Answers", "Harness", "SyncHarness"]
