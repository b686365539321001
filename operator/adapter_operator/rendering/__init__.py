"""Rendering: a decision as text for people, as YAML or JSON for machines, and as a page with plots."""
