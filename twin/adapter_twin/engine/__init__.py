"""One engine, step by step: state in flat arrays, vLLM's scheduling rules, compiled."""
