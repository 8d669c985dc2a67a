"""The contract files in ``schemas/``, the clients and the page ``docs/settings.md``, generated from the code.

The models in ``stream.contract.messages`` and ``stream.settings`` are the source; a test proves the files
equal to what ``python -m stream.schemas`` writes.
"""
