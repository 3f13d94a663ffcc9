"""Hidden labels, records and keys in the forms that accidents take: each is found in a file, and nothing else is."""

import base64
import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.numpy import save

from mico_hub.splits import Split, draw
from mico_hub.suites import SUITES
from publishing import leaks
from publishing.lists import Hidden, _needed, find

N = 1_797
SUITE = SUITES["digits_hi"]
RNG = np.random.default_rng(0)
Ints = npt.NDArray[np.int64]


def text(values: object, separator: str = ", ") -> bytes:
    return separator.join(map(str, np.asarray(values).tolist())).encode()


def trained(split: Split) -> Ints:
    return np.sort(np.concatenate([split.member, split.training]))


def mask(split: Split) -> npt.NDArray[np.uint8]:
    return np.isin(np.arange(N), trained(split)).astype(np.uint8)


def signs(split: Split) -> Ints:
    return 2 * split.membership.astype(np.int64) - 1


def as_type(kind: str) -> Callable[[Split], bytes]:
    return lambda split: split.membership.astype(kind).tobytes()


def signs_as(kind: str) -> Callable[[Split], bytes]:
    return lambda split: signs(split).astype(kind).tobytes()


LABELS: dict[str, Callable[[Split], bytes]] = {
    "zeros and ones": lambda s: text(s.membership, ""),
    "JSON": lambda s: json.dumps(s.membership.tolist(), indent=2).encode(),
    "-1 and 1": lambda s: text(signs(s), " "),
    "-1 and +1": lambda s: ",".join(f"{sign:+d}" for sign in signs(s)).encode(),
    "1.0, 0.0": lambda s: text(s.membership.astype(float)),
    "CRLF": lambda s: text(s.membership, "\r\n"),
    "True and False": lambda s: text(s.membership == 1),
    "in and out": lambda s: text(np.where(s.membership == 1, "in", "out"), "\n"),
    "complement": lambda s: text(1 - s.membership, ""),
    "position,label": lambda s: "\n".join(f"{i},{label}" for i, label in enumerate(s.membership)).encode(),
    "record,label": lambda s: "\r\n".join(
        f"{i},{label}" for i, label in zip(s.challenge, s.membership, strict=True)
    ).encode(),
    "JSON of records": lambda s: ", ".join(
        f"{i}: {label}" for i, label in zip(s.challenge, s.membership, strict=True)
    ).encode(),
    **{f"as {kind}": as_type(kind) for kind in ("u1", "<i2", ">i4", "<i8", "<f2", ">f2", "<f4", ">f8")},
    **{f"signs as {kind}": signs_as(kind) for kind in ("i1", "<i2", ">i8", "<f2", "<f4")},
    "bfloat16": lambda s: torch.tensor(s.membership).bfloat16().view(torch.int16).numpy().tobytes(),
    "bits": lambda s: np.packbits(s.membership).tobytes(),
    "bits, base64": lambda s: base64.b64encode(np.packbits(s.membership, bitorder="little").tobytes()),
    "gzip": lambda s: gzip.compress(text(s.membership, "")),
    "zlib": lambda s: zlib.compress(s.membership.astype("<i4").tobytes()),
}  # fmt: skip

LISTS: dict[str, tuple[Callable[[Split], Ints], str]] = {
    "members": (lambda s: s.member, "members in some order"),
    "members, descending": (lambda s: s.member[::-1], "members in some order"),
    "members, shuffled": (lambda s: RNG.permutation(s.member), "members in some order"),
    "members from the 31st on": (lambda s: np.roll(s.member, -30), "members in some order"),
    "some members": (lambda s: s.member[20:90], "members in some order"),
    "non-members": (lambda s: RNG.permutation(s.nonmember), "non-members in some order"),
    "the training set": (trained, "members in some order"),
    "training records, shuffled": (lambda s: RNG.permutation(s.training), "training records in some order"),
    "evaluation records": (lambda s: s.evaluation[::-1], "evaluation records in some order"),
    "positions of members": (lambda s: np.flatnonzero(s.membership), "positions of members"),
    "positions of non-members": (lambda s: np.flatnonzero(1 - s.membership)[::-1], "positions of non-members"),
}
KINDS = ("text", "lines", "CRLF", "<i2", ">i2", "<i4", ">i4", "<i8", "<f4", ">f8", "gzip", "odd offset")

MASKS: dict[str, Callable[[Split], bytes]] = {
    "bytes": lambda s: mask(s).tobytes(),
    "text": lambda s: text(mask(s), ""),
    "bits": lambda s: np.packbits(mask(s)).tobytes(),
    "bits, little": lambda s: np.packbits(mask(s), bitorder="little").tobytes(),
    "complement": lambda s: (1 - mask(s)).astype(np.uint8).tobytes(),
    "gzip": lambda s: gzip.compress(mask(s).tobytes()),
}


def written(values: Ints, kind: str) -> bytes:
    if kind in ("text", "lines", "CRLF"):
        return text(values, {"text": ", ", "lines": "\n", "CRLF": "\r\n"}[kind])
    if kind == "gzip":
        return gzip.compress(values.astype("<i4").tobytes())
    return b"x" * (3 if kind == "odd offset" else 0) + values.astype("<i4" if kind == "odd offset" else kind).tobytes()


@pytest.fixture(scope="module")
def splits() -> list[Split]:
    return [draw(N, SUITE.n, SUITE.m) for _ in range(8)]


def needles(splits: list[Split]) -> list[leaks.Needle]:
    return [needle for i, split in enumerate(splits) for needle in leaks.hidden_in(SUITE, split, f"model_{i}", N)]


def planted(path: Path, content: bytes) -> Path:
    """Among other bytes."""
    path.write_bytes(RNG.bytes(997) + b"\n" + content + b"\n" + RNG.bytes(1_003))
    return path


@pytest.mark.parametrize("form", LABELS)
def test_labels_are_found_in_the_forms_that_accidents_take(tmp_path: Path, splits: list[Split], form: str) -> None:
    path = planted(tmp_path / "file.json", LABELS[form](splits[3]))
    assert {what.split(",")[0] for _, what in leaks.find([path], needles(splits))} == {"model_3"}
    clean = planted(tmp_path / "clean.json", LABELS[form](draw(N, SUITE.n, SUITE.m)))
    assert leaks.find([clean], needles(splits)) == []


@pytest.mark.parametrize("form", MASKS)
def test_masks_over_all_records_are_found(tmp_path: Path, splits: list[Split], form: str) -> None:
    path = planted(tmp_path / "file.bin", MASKS[form](splits[3]))
    assert {what.split(",")[0] for _, what in leaks.find([path], needles(splits))} == {"model_3"}
    clean = planted(tmp_path / "clean.bin", MASKS[form](draw(N, SUITE.n, SUITE.m)))
    assert leaks.find([clean], needles(splits)) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", LISTS)
def test_lists_are_found_in_any_order(tmp_path: Path, splits: list[Split], form: str, kind: str) -> None:
    hidden = [Hidden.of(f"model_{i}", split, N, training=True) for i, split in enumerate(splits)]
    make, what = LISTS[form]
    path = planted(tmp_path / "file.json", written(make(splits[3]), kind))
    found = {words for _, words in leaks.find_lists([path], hidden)}
    assert f"model_3, {what}" in found
    assert {words.split(",")[0] for words in found} == {"model_3"}
    clean = planted(tmp_path / "clean.json", written(make(draw(N, SUITE.n, SUITE.m)), kind))
    assert leaks.find_lists([clean], hidden) == []


def test_positions_in_single_bytes_and_lists_in_tensors_are_found(tmp_path: Path, splits: list[Split]) -> None:
    hidden = [Hidden.of("model_3", splits[3], N, training=True)]
    path = planted(tmp_path / "file.bin", np.flatnonzero(splits[3].membership).astype(np.uint8).tobytes())
    assert [words for _, words in leaks.find_lists([path], hidden)] == ["model_3, positions of members"]
    noise, members = RNG.normal(size=1_001).astype(np.float32), RNG.permutation(splits[3].member).astype(np.float32)
    (tmp_path / "m.safetensors").write_bytes(save({"a": noise, "b": members}))
    assert leaks.find_lists([tmp_path / "m.safetensors"], hidden) != []
    (tmp_path / "n.safetensors").write_bytes(save({"a": noise, "b": noise[:100]}))
    assert leaks.find_lists([tmp_path / "n.safetensors"], hidden) == []


def test_what_is_public_of_a_model_is_no_leak(splits: list[Split]) -> None:
    """Its challenge, ascending; in `ddp` suites its training records; one record many times."""
    for split in splits:
        hidden = Hidden.of("model", split, N, training=True)
        assert find(split.challenge.astype("<i4").tobytes(), [hidden], array=True) == set()
        of_ddp = Hidden.of("model", split, N, training=False)
        assert find(split.training.astype("<i4").tobytes(), [of_ddp], array=True) == set()
        repeated = np.full(5_000, split.member[0])
        assert find(repeated.astype("<i4").tobytes(), [hidden], array=True) == set()


def test_as_many_in_a_row_as_chance_gives_once_in_2_to_the_80() -> None:
    for share, whole in ((300, 1_597), (49_900, 59_800), (1, 4)):
        needed = _needed(share, whole)
        assert (share / whole) ** needed <= 2**-80 < (share / whole) ** (needed - 1)
    assert _needed(0, 10) == _needed(10, 10) == np.inf
