"""The schema's history, additive first: code of the version before runs on the schema of the next."""
