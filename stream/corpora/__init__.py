"""Annotated documents: one form in memory, a file for every format on disk."""
