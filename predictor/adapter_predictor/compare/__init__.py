"""The comparison: our placement and the baselines, side by side over a fixed suite, judged by the twin."""
