"""A digital twin of LoRA adapter serving: what one engine, and a fleet of them, does with a workload."""
