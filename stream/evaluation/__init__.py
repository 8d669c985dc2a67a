"""Models scored on annotated documents."""
