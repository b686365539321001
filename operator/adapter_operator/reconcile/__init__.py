"""The reconcile loop over its ports: observe, forecast, plan, stabilise, verify, actuate, report.

Knows AdapterDeployments and planning, nothing of Kubernetes: the ports (`ports.py`) are implemented in
`adapter_operator.kubernetes`. Computing is pure and apart from I/O: `rollout.py`, `desired.py`, `report.py`.
"""
