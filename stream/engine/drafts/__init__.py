"""Speculative drafts of answers, copied from the text."""
