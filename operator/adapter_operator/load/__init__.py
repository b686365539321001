"""`adaptwin load`: open-loop traffic to an OpenAI-compatible server, measured as the twin reports.

What is sent when (`traffic`, `payload`), the client (`connections`, `sending`), what an answer says
(`answers`), figures (`measuring`, `comparison`), and how they are shown. Nothing here knows Kubernetes.
"""
