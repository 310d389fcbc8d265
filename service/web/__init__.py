"""What clients reach: REST and WebSocket."""
