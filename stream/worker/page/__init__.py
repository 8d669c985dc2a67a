"""The page that the worker serves: documents passing by, figures, a box to try a text, the contract."""
