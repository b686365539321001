"""The agent: keeps the adapters of the engine beside it as an assignment says. The engine's only caller.

`lifecycle` is pure: what to do next, from what is wanted and what is there. Around it: the files (`sources`,
`library`), the engine (`engine`), the loop (`keeper`), and what others see (`server`, `metrics`).
"""
