"""The Kafka worker: documents in, entity events and dead letters out."""
