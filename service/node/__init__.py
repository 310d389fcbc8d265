"""One serving process: tail, fan-out, connections and replay."""
