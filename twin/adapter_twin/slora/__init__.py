"""S-LoRA: adapters paged in one pool with the KV cache, and LightLLM's router in front of it."""
