"""Benchmarks and decoding strategies; nothing here serves documents."""
