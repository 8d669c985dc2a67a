"""The contract files in ``schemas/``, generated from the message models.

The models in ``stream.contract.messages`` are the one source of truth; a test proves the committed files
equal to what ``python -m stream.schemas`` writes.
"""
