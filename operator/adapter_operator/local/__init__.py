"""The whole system on one machine: emulated replicas with their agents, a gateway, Envoy, and the loop.

`processes` keeps child processes; `replica`, `gateway` and `stand_ins` say which; `cluster` is the reconcile
loop's world; `traffic` what it observes; `events` and `view` what people see; `system` ties them together.
"""
