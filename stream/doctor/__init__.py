"""Checks of a machine, a broker and a Triton server, each with its remedy."""
