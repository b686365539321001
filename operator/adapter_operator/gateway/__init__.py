"""The gateway: what Envoy is told, so that every request reaches a replica that holds its adapter.

Pure values come first (`routing`), then what they are in Envoy's words (`envoy`), how these are served to
Envoy (`discovery`), and where routing tables come from (`sources`). The data plane is Envoy's alone.
"""
