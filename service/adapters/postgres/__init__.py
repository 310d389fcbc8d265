"""The Postgres log: its tables, the history read from it, and the log writer's one transaction."""
