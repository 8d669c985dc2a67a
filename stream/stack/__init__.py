"""The embedded stack: a real Kafka, a real Triton and the worker on one machine, under one supervisor."""
