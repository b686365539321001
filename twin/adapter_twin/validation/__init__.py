"""How close a profile comes to measured runs: simulate each, compare, summarise by regime, plot."""
