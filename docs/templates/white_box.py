"""A white-box attack: the model itself, here what its layers give out.

mico-hub attack digits_hi --attack docs/templates/white_box.py

A record that a model was trained on tends to move its hidden units further from zero. `evidence.model` is any
`torch.nn.Module`; a hook on its layers sees what passes through, and gradients are to be had by `backward`.
"""

import torch

SIGNALS = ()  # none that are published
NEEDS = ("model", "records")


def score(evidence):
    """(P,) numbers, higher = more likely a member."""
    seen = []
    layers = [part for part in evidence.model.modules() if isinstance(part, torch.nn.Linear | torch.nn.Conv2d)]
    hook = layers[0].register_forward_hook(lambda layer, given, activation: seen.append(activation))
    inputs = evidence.inputs  # (P, ...), or for text a dict of tensors
    with torch.inference_mode():
        evidence.model(**inputs) if isinstance(inputs, dict) else evidence.model(inputs)
    hook.remove()
    return seen[0].flatten(1).abs().mean(dim=1).numpy()
