"""The manifest of a suite, `suite.json`: its recipe and all else that is known of it as a whole. All of it is public.

Readers of format 1 take the keys that they know, see that those are what they should be, and ignore others.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from mico_hub.release.format import FormatError, build, canonical, keys_of, known_keys, parse, stamped, unexpected_keys
from mico_hub.suites import SPLITS, Design, Disclosure, Optimiser, OptimiserName, Order, Precision, Suite, differences

LONGEST_TEXT = 300  # characters of a text in a manifest
_MOST = 10**9  # of anything that is counted


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of a suite as a whole."""

    suite: Suite  # the recipe
    noise_multiplier: float | None  # standard deviation of the noise over the clipping norm; None without DP
    data_digest: str | None  # of the base dataset, see `BaseDataset.digest`; None: not known
    data_official: bool
    data_note: str  # what is known of the base dataset where it is not the official one
    versions: dict[str, str]  # of the packages that trained the suite
    engine: int | None = None  # `engine.TRAINING` of the code that trained it; None: not this package
    commit: str | None = None  # of mico-hub's repository, that the code which trained it is of; None: not known
    clean: bool | None = None  # whether that code was the commit's, unchanged; None: not known
    origin: str = ""  # where the models come from if they are the competition's own; empty: trained by this package
    missing: tuple[int, ...] = ()  # models that the origin lacks, by id
    start_digest: str | None = None  # of the weights that training started from; None: random ones, or not known
    network_note: str = ""  # how the network's shape is another than the table's, by those weights
    randomness: str = ""  # `cpu` or `cuda`, where noise and dropout were drawn; empty: not by this package
    commitments: Mapping[str, str] = field(default_factory=dict)  # to the truth of each hidden split, see `commitments`

    @property
    def num_models(self) -> int:
        """How many models there are."""
        return sum(self.suite.models) - len(self.missing)

    @property
    def differences(self) -> list[str]:
        """How the suite is another than the one that the table has under its name."""
        return [*differences(self.suite), *filter(None, [self.network_note])]

    def to_json(self) -> bytes:
        """Stable text: no times, no paths."""
        values = stamped(asdict(self))
        if math.isinf(self.suite.epsilon):
            values["suite"]["epsilon"] = None  # JSON has no infinity
        return (json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()

    @classmethod
    def from_json(cls, text: bytes, where: str) -> "Manifest":
        """The inverse of `to_json`.

        Raises:
            FormatError: It is no such text, is not what a manifest may say, or is of a newer format.
        """
        values = known_keys(parse(text, where), KEYS, where)
        recipe = _object(values, "suite", where)
        recipe["optimiser"] = build(Optimiser, _object(recipe, "optimiser", f"{where}: suite"), f"{where}: optimiser")
        if recipe.get("epsilon", 0) is None:
            recipe["epsilon"] = math.inf
        for holder, key in ((recipe, "models"), (values, "missing")):
            if isinstance(holder.get(key), list):
                holder[key] = tuple(holder[key])
        manifest = build(cls, values | {"suite": build(Suite, recipe, f"{where}: suite")}, where)
        if problems := [*_wrong_recipe(manifest.suite), *_wrong_values(manifest)]:
            raise FormatError("\n  ".join([f"{where}: not what a suite's manifest may say:", *problems]))
        return manifest


KEYS = frozenset(keys_of(Manifest))
"""What this version knows of a manifest; `suite.n` is a key inside `suite`."""


def logical_content(text: bytes, where: str) -> bytes:
    """All that a manifest says, keys included that this version does not know, in the form that digests are over.

    Raises:
        FormatError: It is no JSON object.
    """
    return canonical(parse(text, where))


def unexpected(text: bytes, where: str) -> list[str]:
    """The keys of a manifest that this version would not write."""
    return unexpected_keys(parse(text, where), KEYS)


def _object(values: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    value = values.get(key)
    if not isinstance(value, dict):
        raise FormatError(f"{where}: expected an object under {key!r}, got {value!r}")
    return dict(value)


def _wrong_recipe(suite: Suite) -> Iterator[str]:
    """What no recipe may have, such as DP without a clipping norm: a line a key."""
    dp = _positive(suite.epsilon) and suite.private
    number = "a number above 0"
    yield from (
        f"suite.{key}: expected a name of letters, digits and _, got {value!r}"
        for key in ("name", "track", "dataset", "model")
        if not (isinstance(value := getattr(suite, key), str) and re.fullmatch(r"[A-Za-z0-9_]{1,40}", value))
    )
    kinds = {"order": Order, "disclosure": Disclosure, "design": Design, "precision": Precision}
    yield from (
        f"suite.{key}: expected one of {', '.join(get_args(kind))}, got {value!r}"
        for key, kind in kinds.items()
        if (value := getattr(suite, key)) not in get_args(kind)
    )
    optimiser = suite.optimiser
    expected: list[tuple[str, Any, bool, str]] = [
        ("m", suite.m, _count(suite.m), "a whole number from 1"),
        ("n", suite.n, _count(suite.n) and _count(suite.m) and suite.n >= suite.m, "a whole number, at least m"),
        ("epsilon", suite.epsilon, _positive(suite.epsilon), f"{number}, or null without DP"),
        ("batch_size", suite.batch_size, _count(suite.batch_size), "a whole number from 1"),
        ("epochs", suite.epochs, _count(suite.epochs), "a whole number from 1"),
        ("models", suite.models, _counts(suite.models), "three counts, of models in train, dev and final"),
        ("optimiser.name", optimiser.name, optimiser.name in get_args(OptimiserName), "sgd, adam or adamw"),
        ("optimiser.learning_rate", optimiser.learning_rate, _finite(optimiser.learning_rate), number),
        ("optimiser.decay", optimiser.decay, _finite(optimiser.decay), number),
        ("optimiser.decay_epochs", optimiser.decay_epochs, _count(optimiser.decay_epochs), "a whole number from 1"),
    ]
    if suite.max_grad_norm is not None:
        expected.append(("max_grad_norm", suite.max_grad_norm, _finite(suite.max_grad_norm), f"{number}, or null"))
    if dp:
        expected.append(("clipping_norm", suite.clipping_norm, _finite(suite.clipping_norm), f"{number} with DP"))
        below_one = _finite(suite.delta) and suite.delta is not None and suite.delta < 1
        expected.append(("delta", suite.delta, below_one, f"{number} and below 1 with DP"))
    else:
        expected += [(key, getattr(suite, key), getattr(suite, key) is None, "null without DP") for key in _OF_DP]
    yield from (f"suite.{key}: expected {what}, got {value!r}" for key, value, holds, what in expected if not holds)


_OF_DP = ("clipping_norm", "delta")


def _wrong_values(manifest: Manifest) -> Iterator[str]:
    """What of the rest is not what it is for, or longer, so that something else could be written in it."""
    rules: dict[str, Callable[[Any], bool]] = {
        "data_digest": _digest_or_none,
        "start_digest": _digest_or_none,
        "data_official": lambda value: isinstance(value, bool),
        "data_note": _text,
        "network_note": _text,
        "origin": _text,
        "randomness": lambda value: value in ("", "cpu", "cuda"),
        "noise_multiplier": lambda value: value is None or _finite(value),
        "versions": lambda value: _names(value, r"[\w.+-]{1,40}", r"[\w.+-]{1,40}"),
        "commitments": lambda value: _names(value, "|".join(SPLITS[1:]), r"[0-9a-f]{64}"),
        "missing": lambda value: _models(value, sum(manifest.suite.models) if manifest.origin else 0),
        "engine": lambda value: value is None or _count(value),
        "commit": lambda value: value is None or _matches(r"[0-9a-f]{40}", value),
        "clean": lambda value: value is None or isinstance(value, bool),
    }
    if not _counts(manifest.suite.models):
        del rules["missing"]  # the recipe's problems name it
    for key, holds in rules.items():
        if not holds(value := getattr(manifest, key)):
            yield f"{key}: not expected: {value!r}"
    if _positive(manifest.suite.epsilon) and manifest.suite.private != (manifest.noise_multiplier is not None):
        wanted = "a number above 0 with DP" if manifest.suite.private else "null without DP"
        yield f"noise_multiplier: expected {wanted}, got {manifest.noise_multiplier!r}"


def _count(value: Any, least: int = 1) -> bool:
    return type(value) is int and least <= value <= _MOST


def _counts(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == len(SPLITS) and all(_count(each, 0) for each in value)


def _models(value: Any, models: int) -> bool:
    """Whether these are ids of models, ascending."""
    return (
        isinstance(value, tuple)
        and all(type(each) is int and 0 <= each < models for each in value)
        and list(value) == sorted(set(value))
    )


def _positive(value: Any) -> bool:
    """Whether it is a number above 0, perhaps infinite."""
    return (type(value) is float and value > 0) or _count(value)


def _finite(value: Any) -> bool:
    return _positive(value) and math.isfinite(value)


def _matches(pattern: str, value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) is not None


def _digest_or_none(value: Any) -> bool:
    return value is None or _matches(r"[0-9a-f]{64}", value)


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_TEXT


def _names(value: Any, key: str, held: str) -> bool:
    return isinstance(value, dict) and all(_matches(key, name) and _matches(held, each) for name, each in value.items())
