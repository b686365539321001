"""Decides, verifies and applies how adapters are served on a Kubernetes cluster."""
