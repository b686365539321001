"""What traffic the adapters see: from the gateways' counters, or a user's Prometheus, to rates to plan for.

`counters` and `demand` are pure; `gateways` and `prometheus` ask over HTTP.
"""
