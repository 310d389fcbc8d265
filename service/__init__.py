"""The service: one log of events, read by nodes and delivered to clients by position."""
