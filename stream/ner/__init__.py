"""The method (PaDeLLM-NER, arXiv 2402.04838): a document to its entities, over a ``Generator``."""
