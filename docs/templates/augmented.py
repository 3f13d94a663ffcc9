"""A label-only attack: how often is the answer right on shifted copies of an image?

After Choquette-Choo et al. 2021, Label-Only Membership Inference Attacks (arXiv 2007.14321).

mico-hub attack digits_hi --attack docs/templates/augmented.py

Only answers are looked at, no probability. Suites of images have what this needs; digits have their pixels in rows.
"""

import numpy as np
import torch

SIGNALS = ()
NEEDS = ("model", "records")
SHIFTS = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]


def score(evidence):
    """(P,) numbers, higher = more likely a member; ties are broken at random."""
    inputs = evidence.inputs
    side = int(inputs[0].numel() ** 0.5) if inputs.ndim == 2 else None
    images = inputs.view(-1, 1, side, side) if side else inputs
    right = np.zeros(len(inputs))
    for shift in SHIFTS:
        moved = torch.roll(images, shift, dims=(2, 3)).reshape(inputs.shape)
        with torch.inference_mode():
            right += evidence.model(moved).argmax(dim=1).numpy() == evidence.labels
    return right + np.random.default_rng(0).random(len(right)) / 2
