"""The competition's scores: `scoring.py` computes them, `mico_score.py` is the `evaluate` module around it."""
