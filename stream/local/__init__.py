"""The embedded stack of one machine: Kafka, Triton and the worker under a supervisor."""
