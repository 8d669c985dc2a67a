"""Values in Confluent's wire format: a schema's id in front, and the schema in a registry."""
