"""How often the blind attacks of the leak check see a flaw in how splits are drawn, and how often they see none.

python benchmarks/blind.py [RUNS]     suites of 200 models with 100 members each; the table of docs/publishing.md
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from tqdm import tqdm

from mico_hub import tables
from mico_hub.data import load_base
from mico_hub.splits import draw
from publishing import blind
from publishing.secrecy import record_features

N, MODELS, M = 1_797, 200, 100
Draw = Callable[[int, np.random.Generator], Any]  # model id -> (challenge, membership)


def fresh(rng: np.random.Generator) -> tuple[Any, Any]:
    """As splits are drawn."""
    split = draw(N, 400, M)
    return split.challenge, split.membership.astype(np.int8)


def leaning(strength: float, tells: Callable[[Any, int], Any], models: range = range(MODELS)) -> Draw:
    """Members are those with the largest noise plus what tells, in some models."""

    def draw_one(model_id: int, rng: np.random.Generator) -> tuple[Any, Any]:
        challenge, membership = fresh(rng)
        if model_id in models:
            scores = strength * tells(challenge, model_id) + rng.normal(size=2 * M)
            membership = (np.argsort(np.argsort(scores)) >= M).astype(np.int8)
        return challenge, membership

    return draw_one


def one_of_two(share: float) -> Draw:
    """Of the records i and i + m one is a member, in a share of the models."""

    def draw_one(_: int, rng: np.random.Generator) -> tuple[Any, Any]:
        challenge, membership = fresh(rng)
        if rng.random() < share:
            first = rng.integers(2, size=M, dtype=np.int8)
            membership = np.concatenate([first, 1 - first])
        return challenge, membership

    return draw_one


def complements(share: float) -> Draw:
    """Every second model has the complement of the one before, in a share of them."""
    before: list[Any] = []

    def draw_one(model_id: int, rng: np.random.Generator) -> tuple[Any, Any]:
        challenge, membership = fresh(rng)
        if model_id % 2 and rng.random() < share:
            membership = 1 - before[-1]
        before.append(membership)
        return challenge, membership

    return draw_one


def balanced(strength: float) -> Draw:
    """Members are rather those that were members less often."""
    times = np.zeros(N)

    def draw_one(_: int, rng: np.random.Generator) -> tuple[Any, Any]:
        challenge, membership = fresh(rng)
        scores = rng.normal(size=2 * M) - strength * times[challenge]
        membership = (np.argsort(np.argsort(scores)) >= M).astype(np.int8)
        times[challenge[membership == 1]] += 1
        return challenge, membership

    return draw_one


def late(_: Any, __: int) -> Any:
    """The place in the challenge."""
    return np.arange(2 * M) / M


def odd(_: Any, __: int) -> Any:
    """Whether the place is odd."""
    return np.arange(2 * M) % 2


CLASSES = load_base("digits").labels.numpy()
LAST = range(MODELS - MODELS // 4, MODELS)
FLAWS: dict[str, Callable[[], Draw]] = {
    "none": lambda: leaning(0, odd),
    "members stand later, 0.3 of the noise": lambda: leaning(0.3, late),
    "odd places, 0.2, in the last quarter of models": lambda: leaning(0.2, odd, LAST),
    "odd places, 0.4, in the last quarter of models": lambda: leaning(0.4, odd, LAST),
    "one of the records i and i + m, in all models": lambda: one_of_two(1.0),
    "one of the records i and i + m, in a tenth": lambda: one_of_two(0.1),
    "complement of the model before, every second": lambda: complements(1.0),
    "complement of the model before, every twentieth": lambda: complements(0.1),
    "balanced over models, 0.1 of the noise a time": lambda: balanced(0.1),
    "higher classes, 0.02 of the noise a class": lambda: leaning(0.02, lambda challenge, _: CLASSES[challenge]),
    "higher classes, 0.05 of the noise a class": lambda: leaning(0.05, lambda challenge, _: CLASSES[challenge]),
}


def seen(draw_one: Draw, rng: np.random.Generator, features: dict[str, Any]) -> bool:
    """Whether a suite that is drawn so is found out."""
    rows: list[Any] = []
    for model_id in range(MODELS):
        challenge, membership = draw_one(model_id, rng)
        training = np.sort(rng.permutation(np.setdiff1d(np.arange(N), challenge))[:300])
        rows.append({"model_id": model_id, "challenge": challenge, "membership": membership, "training": training})
    return any(each.leaks for each in blind.attack(rows, {}, N, features))


def main() -> None:
    """Prints the table."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    features, rng = record_features(load_base("digits")), np.random.default_rng()
    rows = []
    for name, flaw in tqdm(FLAWS.items()):
        times = 5 * number if name == "none" else number
        found = sum(seen(flaw(), rng, features) for _ in range(times))
        rows.append((name, f"{found} of {times}"))
    sys.stdout.write(tables.markdown(("flaw", "seen"), rows) + "\n")


if __name__ == "__main__":
    main()
