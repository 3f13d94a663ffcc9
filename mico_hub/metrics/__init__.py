"""Metrics in the form that `evaluate.load` reads: one folder each, published as a Space."""
