"""Routing tables in Envoy's words: its bootstrap, clusters, endpoints and routes. Pure."""
