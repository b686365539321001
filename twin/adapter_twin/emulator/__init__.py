"""vLLM's HTTP server without a GPU: its API, its errors and its metrics, with the twin's engine in real time.

Pure parts first: `flags`, `requests`, `validation`, `sampling`, `tokens`, `answers`; then what holds state
(`adapters`, `engine_loop`, `metrics`, `faults`), the HTTP protocol, and the server that ties them together.
"""
