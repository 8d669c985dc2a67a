"""PaDeLLM-NER as a stream: documents from Kafka, entities decoded in parallel, entity events back."""
