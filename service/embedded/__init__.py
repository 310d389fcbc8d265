"""A real Kafka and a real Postgres on a bare machine, supervised."""
