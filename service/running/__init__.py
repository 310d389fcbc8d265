"""Programs run as tasks: started, watched, written to and ended; what becomes of them goes to an event sink."""
