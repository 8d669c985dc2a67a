"""Clients of Kafka beside the worker: topics, producer, reader."""
