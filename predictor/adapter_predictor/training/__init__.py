"""Training: datasets from the twin, trees from datasets. The only place where scikit-learn is imported."""
