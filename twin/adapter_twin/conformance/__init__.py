"""Whether the engine schedules as vLLM does: recordings of the real one, replayed and compared."""
