"""Adaptwin on a Kubernetes cluster: the ports of the reconcile loop, kopf's handlers, leadership, the CLI."""
