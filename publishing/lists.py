"""Finds hidden lists of records in whatever order they stand, wherever they begin, whatever else is among them.

Whether a record is a member has nothing to do with where it stands in a file. So of a model's challenge records in a
run of integers the labels come as from a coin, and `LABELS` different ones in a row with the same label have a chance
of 1 in 2**`LABELS`. That finds members or non-members sorted, descending, shuffled, merged with the training records,
from any element on. Likewise training and evaluation records among all others, by their share of them, and the
positions of members in the challenge.

Looked at are all runs of at least `SHORTEST` integers that could be records or positions: in text, and in bytes as
integers and floats in either byte order. In small files these are of one, two, four and eight bytes at any offset; in
arrays, whose place is known, of four and eight at their own.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mico_hub.splits import Indices, Split

LABELS = 64
BITS = 80  # of surprise, for training and evaluation records
SHORTEST = 32
_MEMBER, _NONMEMBER, _TRAINING, _EVALUATION = range(1, 5)
WIDE = tuple(f"{order}{kind}" for kind in ("u4", "u8", "f4", "f8") for order in "<>")
EVERY = ("u1", *(f"{order}{kind}" for kind in ("u2", "f2") for order in "<>"), *WIDE)
_NUMBER = re.compile(rb"\d{1,9}")

Codes = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True, eq=False)
class Hidden:
    """What is hidden of a model."""

    name: str
    codes: Codes  # (N,) what each record is to it; 0: that is public
    labels: Codes  # (2m,) by position in its challenge, as codes

    @classmethod
    def of(cls, name: str, split: Split, num_records: int, *, training: bool) -> "Hidden":
        """Of a model's split.

        Args:
            name: The model's, for findings.
            split: All of it.
            num_records: N, of the base dataset.
            training: Whether the other training records are hidden, too.
        """
        codes = np.zeros(num_records, dtype=np.int8)
        if training:
            codes[split.training], codes[split.evaluation] = _TRAINING, _EVALUATION
        codes[split.member], codes[split.nonmember] = _MEMBER, _NONMEMBER
        return cls(name, codes, codes[split.challenge])

    def found_in(self, run: Indices) -> Iterator[str]:
        """What of it a run of integers shows."""
        inside = run[run < len(self.codes)]
        codes = self.codes[inside]
        shares = {code: int(np.count_nonzero(self.codes == code)) for code in (_TRAINING, _EVALUATION)}
        others = sum(shares.values())
        for what, wanted, pair in (
            ("members", LABELS, (_MEMBER, _NONMEMBER)),
            ("non-members", LABELS, (_NONMEMBER, _MEMBER)),
            ("training records", _needed(shares[_TRAINING], others), (_TRAINING, _EVALUATION)),
            ("evaluation records", _needed(shares[_EVALUATION], others), (_EVALUATION, _TRAINING)),
        ):
            if _in_a_row(inside, codes, pair) >= wanted:
                yield f"{self.name}, {what} in some order"
        places = run[run < len(self.labels)]
        for what, pair in (("members", (_MEMBER, _NONMEMBER)), ("non-members", (_NONMEMBER, _MEMBER))):
            if _in_a_row(places, self.labels[places], pair) >= LABELS:
                yield f"{self.name}, positions of {what}"


def _needed(share: int, all_of_them: int) -> float:
    """How many in a row chance gives once in 2**`BITS`; infinite where all are of that kind, or none is hidden."""
    if not share or share == all_of_them:
        return math.inf
    return math.ceil(BITS / math.log2(all_of_them / share))


def _in_a_row(records: Indices, codes: Codes, pair: tuple[int, int]) -> int:
    """The most different records of the first code between two of the second; others do not count."""
    first, second = pair
    among = (codes == first) | (codes == second)
    records, is_first = records[among], codes[among] == first
    if not is_first.any():
        return 0
    edges = np.flatnonzero(np.diff(is_first.astype(np.int8), prepend=0, append=0))
    lengths = edges[1::2] - edges[::2]
    longest = int(np.argmax(lengths))  # repeated ones count once
    return len(np.unique(records[edges[2 * longest] : edges[2 * longest + 1]]))


def find(content: bytes, hidden: Sequence[Hidden], *, array: bool) -> set[str]:
    """What lists in a file, or a piece of one, show.

    Args:
        content: Its bytes.
        hidden: Models of any suites.
        array: Whether it is one: then only numbers of four and eight bytes at multiples of their size are looked for.
    """
    if not hidden:
        return set()
    records, positions = (
        max(map(len, parts)) for parts in zip(*((each.codes, each.labels) for each in hidden), strict=True)
    )
    return {
        words
        for run in runs(content, records, positions, array=array)
        for model in hidden
        for words in model.found_in(run)
    }


def runs(content: bytes, records: int, positions: int, *, array: bool) -> Iterator[Indices]:
    """Every run of at least `SHORTEST` integers that could be records, or in one byte positions, in any reading."""
    for name in WIDE if array else EVERY:
        kind = np.dtype(name)
        for offset in range(1 if array else kind.itemsize):
            values = np.frombuffer(content, kind, max(0, len(content) - offset) // kind.itemsize, offset)
            with np.errstate(invalid="ignore"):
                fits = (values >= 0) & (values < (positions if kind.itemsize == 1 else records))
                if kind.kind == "f":
                    fits &= values == np.floor(values)
            yield from (values[start:end].astype(np.int64) for start, end in _spans(fits))
    numbers = np.array(_NUMBER.findall(content), dtype="S9")
    if len(numbers) >= SHORTEST:
        values = numbers.astype(np.int64)
        yield from (values[start:end] for start, end in _spans(values < records))


def _spans(fits: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(fits.astype(np.int8), prepend=0, append=0))
    starts, ends = edges[::2], edges[1::2]
    long = ends - starts >= SHORTEST
    return zip(starts[long].tolist(), ends[long].tolist(), strict=True)
