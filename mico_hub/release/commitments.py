"""Commitments: proof, once the truth is shown, that it was fixed before the models were attacked. Pure: no files.

    commitment = SHA-256(nonce || canonical truth)

One for each suite and hidden split, public from the start. What opens it, a nonce of 32 random bytes and the truth, is
kept in `private/` until the split is revealed. Without the nonce the commitment would confirm guesses.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mico_hub.release.format import FormatError, NewerFormatError, canonical, known_keys, parse, stamped
from mico_hub.suites import Design

NONCE_BYTES = 32


class CommitmentError(FormatError):
    """What should open a commitment and does not."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What opens a commitment: for `private/` until the split is revealed."""

    suite: str
    split: str
    nonce: bytes
    models: tuple[Mapping[str, Any], ...]  # model_id, challenge (2m,) and membership (2m,), by ascending id

    def canonical_truth(self) -> bytes:
        """The one form in which a truth is committed to: JSON, an object a line.

        First `{"split": ..., "suite": ...}`, then `{"challenge": [...], "membership": [...], "model_id": ...}` for each
        model by ascending id; keys sorted, no spaces, integers in decimal, a newline after each line; ASCII.
        """
        return b"".join(_line(values) for values in ({"suite": self.suite, "split": self.split}, *self._models()))

    def commitment(self) -> str:
        """The commitment that this opens, in hexadecimal."""
        return hashlib.sha256(self.nonce + self.canonical_truth()).hexdigest()

    def to_json(self) -> bytes:
        """The file that is kept, and shown in the end: format and nonce on a first line, then the truth."""
        return _line(stamped({"nonce": self.nonce.hex()})) + self.canonical_truth()

    @classmethod
    def from_json(cls, text: bytes, where: str) -> "Opening":
        """The inverse of `to_json`.

        Raises:
            CommitmentError: It is no such text.
        """
        try:
            first, named, *models = [parse(line, where) for line in text.splitlines()]
            nonce = bytes.fromhex(known_keys(first, ("nonce",), where)["nonce"])
            opening = cls(named["suite"], named["split"], nonce, tuple(models))
            values = [row[name] for row in models for name in ("challenge", "membership")]
            if any(
                type(each) is not int for each in [row["model_id"] for row in models] + [x for v in values for x in v]
            ):
                raise ValueError("it holds something that is not an integer")
            if len(nonce) != NONCE_BYTES or opening.canonical_truth() != text.partition(b"\n")[2]:
                raise ValueError("it is not in the canonical form")
        except NewerFormatError as error:
            raise CommitmentError(str(error)) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CommitmentError(
                f"{where}: expected what opens a commitment, a nonce and a truth in the canonical form: {error}"
            ) from error
        return opening

    def _models(self) -> list[dict[str, Any]]:
        return [
            {
                "model_id": int(row["model_id"]),
                "challenge": np.asarray(row["challenge"]).tolist(),
                "membership": np.asarray(row["membership"]).tolist(),
            }
            for row in sorted(self.models, key=lambda row: int(row["model_id"]))
        ]

    def differences(self, public: Sequence[Mapping[str, Any]], design: Design = "exact") -> list[str]:
        """Why this is not the truth of a split's public rows; empty where it fits them.

        Args:
            public: The rows that were published of the split, membership hidden or not.
            design: How members were drawn: `exact` has as many as non-members in each model.
        """
        shown = {row["model_id"]: row for row in public}
        models = self._models()
        if [row["model_id"] for row in models] != sorted(shown):
            return [f"expected the models {sorted(shown)}, got {[row['model_id'] for row in models]}"]
        problems = []
        for row in models:
            public_row, name = shown[row["model_id"]], f"model_{row['model_id']}"
            if not np.array_equal(public_row["challenge"], row["challenge"]):
                problems.append(f"{name}: its challenge is not the published one")
            if len(row["membership"]) != len(row["challenge"]) or set(row["membership"]) - {0, 1}:
                problems.append(f"{name}: expected a 0 or a 1 for each record of the challenge")
            elif design == "exact" and 2 * sum(row["membership"]) != len(row["membership"]):
                got = f"{sum(row['membership'])} members of {len(row['membership'])}"
                problems.append(f"{name}: expected as many members as non-members, got {got}")
            elif public_row["membership"] is not None and not np.array_equal(
                public_row["membership"], row["membership"]
            ):
                problems.append(f"{name}: its membership is not the published one")
        return problems


def _line(values: Mapping[str, Any]) -> bytes:
    return canonical(values) + b"\n"
