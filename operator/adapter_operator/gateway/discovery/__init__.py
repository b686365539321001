"""Serving a routing table to Envoy: delta gRPC ADS (aggregated discovery, only what changed)."""
