"""What fulfils the ports: Kafka, Postgres, the in-memory twin, tokens."""
