"""Placements to compare ours with, as other systems do it: from a number of replicas to what each one holds.

All get the same help: an adapter that no replica can carry alone is cut into as many copies as it takes,
minimum copies go to different replicas, and afterwards every replica gets the slots that the predictor finds
best for it. None of them knows of slots or of adapters that are active at a time, but the greedy one.
"""

from adapter_predictor.placement.baselines.contenders import BASELINES, Baseline

__all__ = ["BASELINES", "Baseline"]
