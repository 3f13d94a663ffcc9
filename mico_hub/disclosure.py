"""Decides what is public. No other module does.

A row of the published dataset is made here from a model's split, and nothing that is written to a public file comes
from anywhere else. For `train` everything is revealed. For `dev` and `final` the row reveals the challenge, whose order
is ascending and so says nothing, and in suites whose disclosure is `training` the non-challenge training records.
"""

from dataclasses import dataclass
from typing import Any

from mico_hub.splits import Split
from mico_hub.suites import Suite

Row = dict[str, Any]

REVEALED_SPLIT = "train"
ACCURACY_DECIMALS = 3


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of a model after its training."""

    checkpoint: str  # path relative to the published repository
    sha256: str
    num_bytes: int
    accuracy: float | None  # over `evaluation`, in [0, 1]; None where there are no evaluation records
    epsilon: float  # spent, inf without DP
    delta: float | None


def disclose(suite: Suite, model_id: int, split: Split, measured: Measured) -> tuple[Row, Row]:
    """Turns a model's split into its public and its private row.

    Args:
        suite: Says what dev and final reveal.
        model_id: Decides whether the model is in train, dev or final.
        split: The model's records, membership included.
        measured: The checkpoint and what was measured; public in every split. The accuracy is over evaluation records
            only, never over the challenge, and is rounded here.

    Returns:
        (public, private): the row that is published, with None where something is hidden, and the whole truth.

    Raises:
        ValueError: The challenge is not ascending: its order would be published.
    """
    if (split.challenge[1:] <= split.challenge[:-1]).any():
        raise ValueError(f"{suite.name}/model_{model_id}: expected an ascending challenge; its order may tell members")
    private = truth(suite, model_id, split)
    revealed = private["split"] == REVEALED_SPLIT
    public = {
        "suite": private["suite"],
        "split": private["split"],
        "model_id": model_id,
        "checkpoint": measured.checkpoint,
        "sha256": measured.sha256,
        "num_bytes": measured.num_bytes,
        "challenge": split.challenge,
        "membership": split.membership if revealed else None,
        "training": split.training if revealed or suite.disclosure == "training" else None,
        "accuracy": None if measured.accuracy is None else round(measured.accuracy, ACCURACY_DECIMALS),
        "epsilon": measured.epsilon,
        "delta": measured.delta,
    }
    return public, private


def truth(suite: Suite, model_id: int, split: Split) -> Row:
    """The private row: everything about a model's split, for `private/` alone."""
    return {
        "suite": suite.name,
        "split": suite.split_of(model_id),
        "model_id": model_id,
        "challenge": split.challenge,
        "membership": split.membership,
        "training": split.training,
    }
