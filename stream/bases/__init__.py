"""Pretrained checkpoints that bundled adapters change: fetched once, kept in the user's cache."""
