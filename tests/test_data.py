import hashlib
import io
import os
import pickle
import re
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from mico_hub.data import DATASETS, BaseDataset, DataError, load_base
from mico_hub.data import bits as bits_module
from mico_hub.data import cifar10 as cifar10_module
from mico_hub.data import location30 as location_module
from mico_hub.data import purchase100 as purchase_module
from mico_hub.data.base import content_digest, sha256
from mico_hub.data.bits import git_blob
from mico_hub.data.cifar10 import BATCHES, BINARY, HUB_BATCHES, MEAN, PYTHON, STD, hub_order, judge, normalise
from mico_hub.models import prepared
from mico_hub.models.roberta import MAX_LENGTH, tokenise, tokenizer
from mico_hub.suites import SUITES

Bytes = NDArray[np.uint8]


def tensors(inputs: torch.Tensor | dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return inputs if isinstance(inputs, dict) else {"inputs": inputs}


# The table


def test_every_suite_has_a_dataset_large_enough_for_it() -> None:
    assert {suite.dataset for suite in SUITES.values()} == set(DATASETS)
    assert all(suite.n + suite.m <= DATASETS[suite.dataset].num_records for suite in SUITES.values())


def test_the_table_has_the_competitions_numbers_of_records() -> None:
    numbers = {name: info.num_records for name, info in DATASETS.items()}
    ours = {"digits": 1_797, "digits_canaries": 1_997}
    assert numbers == ours | {"cifar10": 60_000, "purchase100": 197_324, "sst2": 68_221, "location30": 5_010}


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_says_where_it_is_from_and_under_what_terms(name: str) -> None:
    info = DATASETS[name]
    assert info.name == name
    assert info.url.startswith("https://")
    assert info.licence
    assert info.description.endswith(".")
    assert re.match(r"@\w+\{", info.citation)
    assert info.citation.count("{") == info.citation.count("}")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        DataError, match=r"unknown dataset 'cifar'\. Did you mean 'cifar10'\? There are: cifar10, digits"
    ):
        load_base("cifar")


def test_a_folder_that_is_not_there_is_an_error_and_not_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="gone: expected the folder with the datasets"):
        load_base("sst2", tmp_path / "gone")
    monkeypatch.setenv("MICO_HUB_DATA", str(tmp_path / "gone"))
    with pytest.raises(DataError, match="check MICO_HUB_DATA"):
        load_base("sst2")


# Any dataset


@pytest.fixture
def digits() -> BaseDataset:
    return load_base("digits")


def test_digits_are_scikit_learns_and_need_nothing(digits: BaseDataset) -> None:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    assert digits.official
    assert digits.note == ""
    assert len(digits) == 1_797
    assert digits.labels.dtype == torch.int64
    assert digits.labels.tolist() == labels.tolist()
    inputs = tensors(digits.inputs(range(len(digits))))["inputs"]
    assert inputs.dtype == torch.float32
    assert torch.allclose(inputs, torch.from_numpy((pixels / 16 - 0.3) * 8).float())


def test_a_dataset_is_read_once_whatever_way_its_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MICO_HUB_DATA", ".")
    assert load_base("digits") is load_base("digits", tmp_path) is load_base("digits", tmp_path / "x" / "..")


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor, lambda r: np.array(r, np.int32)])
def test_records_come_in_the_order_asked_for(digits: BaseDataset, kind: Callable[[list[int]], Any]) -> None:
    records = [5, 1_796, 0, 5]
    assert isinstance(digits.raw, torch.Tensor)
    expected = torch.stack([(digits.raw[record] / 16 - 0.3) * 8 for record in records])
    assert torch.equal(tensors(digits.inputs(kind(records)))["inputs"], expected)


def test_no_records_are_an_empty_batch(digits: BaseDataset) -> None:
    assert tensors(digits.inputs([]))["inputs"].shape == (0, 64)
    assert {key: x.shape for key, x in tokenise([]).items()} == {
        "input_ids": (0, MAX_LENGTH),
        "attention_mask": (0, MAX_LENGTH),
    }


def test_indices_that_are_no_records_are_refused(digits: BaseDataset) -> None:
    with pytest.raises(IndexError, match=r"digits: expected record indices from 0 to 1,796, got 2 others: -1, 1797"):
        digits.inputs([0, -1, 1_797])
    with pytest.raises(TypeError, match="float64 of shape"):
        digits.inputs([0.5])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"\(1, 2\)"):
        digits.inputs([[0, 1]])  # type: ignore[list-item]


def test_the_digest_covers_name_labels_and_records() -> None:
    labels, records = np.array([0, 1], np.uint8), np.array([[1, 2], [3, 4]], np.uint8)
    digest = content_digest("a", labels, records)
    assert digest == hashlib.sha256(b"a\n\x00\x01\x01\x02\x03\x04").hexdigest()
    others = [("b", labels, records), ("a", labels[::-1].copy(), records), ("a", labels, records[::-1].copy())]
    assert digest not in [content_digest(*other) for other in others]


# CIFAR-10, sixty images of it

ROWS = 10  # per batch


@pytest.fixture
def pixels() -> Bytes:
    return np.random.default_rng(1).integers(0, 256, (6 * ROWS, 3, 32, 32), np.uint8)


@pytest.fixture
def classes() -> Bytes:
    return np.random.default_rng(2).permutation(np.arange(6 * ROWS) % 10).astype(np.uint8)


@pytest.fixture
def cifar(tmp_path: Path, pixels: Bytes, classes: Bytes) -> Any:
    """CIFAR-10's entry for the sixty images, whose 'Hub' is a folder."""
    return replace(
        DATASETS["cifar10"],
        splits={"train": 5 * ROWS, "test": ROWS},
        labels_sha256=sha256(classes),
        hub_id=str(tmp_path / "hub"),
    )


def write_binary(folder: Path, pixels: Bytes, classes: Bytes) -> None:
    folder.mkdir(parents=True)
    records = np.concatenate([classes[:, None], pixels.reshape(len(pixels), -1)], axis=1)
    for number, batch in enumerate(BATCHES):
        records[number * ROWS : (number + 1) * ROWS].tofile(folder / f"{batch}.bin")


def write_python(folder: Path, pixels: Bytes, classes: Bytes) -> dict[str, str]:
    """Returns the files' md5s."""
    folder.mkdir(parents=True)
    for number, batch in enumerate(BATCHES):
        part = slice(number * ROWS, (number + 1) * ROWS)
        content = {b"data": pixels[part].reshape(ROWS, -1), b"labels": classes[part].tolist(), b"filenames": [b"a.png"]}
        (folder / batch).write_bytes(pickle.dumps(content, protocol=4))
    return {batch: hashlib.md5((folder / batch).read_bytes()).hexdigest() for batch in BATCHES}


def write_hub(folder: Path, pixels: Bytes, classes: Bytes, order: tuple[int, ...]) -> None:
    """Parquet with PNG images, train batches in `order`, and a card, as in the Hub's repository."""

    def png(image: Bytes) -> bytes:
        file = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(file, "PNG")
        return file.getvalue()

    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    train = [record for batch in order for record in range((batch - 1) * ROWS, batch * ROWS)]
    for split, records in (("train", train), ("test", range(5 * ROWS, 6 * ROWS))):
        images = [{"bytes": png(pixels[record]), "path": None} for record in records]
        table = {"img": images, "label": [int(classes[record]) for record in records]}
        datasets.Dataset.from_dict(table, features=features).to_parquet(folder / "plain_text" / f"{split}.parquet")
    write_card(folder, "plain_text", ("train", "test"))


def write_card(folder: Path, config: str, splits: tuple[str, ...]) -> None:
    files = "".join(f"  - split: {split}\n    path: {config}/{split}.parquet\n" for split in splits)
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: {config}\n  data_files:\n{files}---\n")


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub_cache")


@pytest.mark.usefixtures("hub_cache")
def test_cifar10_is_the_same_from_the_binary_version_the_python_version_and_the_hub(
    tmp_path: Path, cifar: Any, pixels: Bytes, classes: Bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_binary(tmp_path / "binary" / BINARY, pixels, classes)
    monkeypatch.setattr(cifar10_module, "OFFICIAL_MD5", write_python(tmp_path / "python" / PYTHON, pixels, classes))
    write_hub(tmp_path / "hub", pixels, classes, HUB_BATCHES)

    read = [cifar10_module.read(cifar, folder) for folder in (tmp_path / "binary", tmp_path / "python", tmp_path, None)]
    for base in read:
        assert isinstance(base.raw, torch.Tensor)
        assert torch.equal(base.raw, torch.from_numpy(pixels))
        assert base.labels.tolist() == classes.tolist()
        assert base.digest == content_digest("cifar10", classes, pixels)
    assert [base.official for base in read] == [False, True, False, False]
    assert read[0].note == read[2].note == "not verified: the labels are the official ones, but some images are not"


@pytest.mark.usefixtures("hub_cache")
def test_cifar10_from_the_hub_in_another_order_is_refused(
    tmp_path: Path, cifar: Any, pixels: Bytes, classes: Bytes
) -> None:
    write_hub(tmp_path / "hub", pixels, classes, (1, 2, 3, 4, 5))
    with pytest.raises(
        DataError, match=r"not CIFAR-10's in the competition's order: expected SHA-256 \w{64}.*, got \w{64}"
    ):
        cifar10_module.read(cifar, None)


@pytest.mark.usefixtures("hub_cache")
def test_a_hub_with_other_rows_is_refused(tmp_path: Path, cifar: Any, pixels: Bytes, classes: Bytes) -> None:
    write_hub(tmp_path / "hub", pixels, classes, (4, 3, 2, 5))
    with pytest.raises(DataError, match="train: expected 50 rows with the columns img, label, got 40 with img, label"):
        cifar10_module.read(cifar, None)


def test_the_hubs_order_of_batches_is_undone() -> None:
    hub = np.repeat(HUB_BATCHES, 3)
    assert hub[hub_order(15)].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5]
    within = np.concatenate([np.arange(3) + 10 * batch for batch in HUB_BATCHES])
    assert within[hub_order(15)].tolist() == sorted(within.tolist())


def test_missing_and_truncated_batches_are_all_named(tmp_path: Path, cifar: Any, pixels: Bytes, classes: Bytes) -> None:
    folder = tmp_path / BINARY
    write_binary(folder, pixels, classes)
    (folder / "data_batch_2.bin").unlink()
    os.truncate(folder / "test_batch.bin", 3_073)
    with pytest.raises(DataError) as error:
        cifar10_module.read(cifar, tmp_path)
    message = str(error.value)
    assert f"{folder / 'data_batch_2.bin'}: no such file" in message
    assert f"{folder / 'test_batch.bin'}: expected 30,730 bytes, got 3,073" in message
    assert "expected 60 rows (train 50, test 10) in 10 classes" in message
    assert "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz" in message
    assert "MICO_HUB_DATA=FOLDER" in message
    assert "batch_1" not in message.replace("data_batch_1..5", "")


def test_batches_in_the_wrong_order_are_refused(tmp_path: Path, cifar: Any, pixels: Bytes, classes: Bytes) -> None:
    folder = tmp_path / BINARY
    write_binary(folder, pixels, classes)
    (folder / "data_batch_1.bin").rename(folder / "x")
    (folder / "data_batch_2.bin").rename(folder / "data_batch_1.bin")
    (folder / "x").rename(folder / "data_batch_2.bin")
    with pytest.raises(DataError, match="not CIFAR-10's in the competition's order"):
        cifar10_module.read(cifar, tmp_path)


def test_nothing_is_unpickled_unless_all_md5s_are_official(
    tmp_path: Path, cifar: Any, pixels: Bytes, classes: Bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    official = write_python(tmp_path / PYTHON, pixels, classes)
    monkeypatch.setattr(cifar10_module, "OFFICIAL_MD5", {**official, "test_batch": "0" * 32})
    monkeypatch.setattr(cifar10_module, "_Unpickler", None)
    with pytest.raises(
        DataError, match=r"only the official files are read(.|\n)*test_batch: expected md5 0{32}, got"
    ) as e:
        cifar10_module.read(cifar, tmp_path)
    assert "data_batch_1:" not in str(e.value)


def test_even_an_official_pickle_can_call_nothing_but_numpy(
    tmp_path: Path, cifar: Any, pixels: Bytes, classes: Bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Planted:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "planted"),)

    official = write_python(tmp_path / PYTHON, pixels, classes)
    content = pickle.dumps(Planted())
    (tmp_path / PYTHON / "test_batch").write_bytes(content)
    md5 = hashlib.md5(content).hexdigest()
    monkeypatch.setattr(cifar10_module, "OFFICIAL_MD5", {**official, "test_batch": md5})
    with pytest.raises(DataError, match=r"refused to unpickle \w+\.mkdir"):
        cifar10_module.read(cifar, tmp_path)
    assert not (tmp_path / "planted").exists()


def test_images_are_normalised_per_channel(pixels: Bytes) -> None:
    inputs = normalise(torch.from_numpy(pixels))
    mean, std = (np.array(values).reshape(3, 1, 1) for values in (MEAN, STD))
    np.testing.assert_allclose(inputs.numpy(), (pixels / 255 - mean) / std, atol=1e-5)
    assert inputs.dtype == torch.float32


# SST-2, a few sentences of it

TRAIN = [("hide new secretions ", 0), ("clichés \"quoted' ", 1), ("that loves its characters ", 1)]
DEV = [("it 's a charming journey . ", 1), ("unflinchingly bleak ", 0)]


def write_tsv(folder: Path, train: list[tuple[str, int]], dev: list[tuple[str, int]], end: str = "\n") -> None:
    folder.mkdir(parents=True)
    for name, pairs in (("train.tsv", train), ("dev.tsv", dev)):
        lines = ["sentence\tlabel", *(f"{sentence}\t{label}" for sentence, label in pairs)]
        (folder / name).write_bytes((end.join(lines) + end).encode())


@pytest.fixture
def sst2(tmp_path: Path) -> Any:
    labels = np.array([label for _, label in TRAIN + DEV], np.uint8)
    return replace(
        DATASETS["sst2"],
        splits={"train": len(TRAIN), "validation": len(DEV)},
        labels_sha256=sha256(labels),
        hub_id=str(tmp_path / "hub"),
    )


def read_sst2(info: Any, folder: Path | None) -> BaseDataset:
    from mico_hub.data import sst2

    return sst2.read(info, folder)


@pytest.mark.usefixtures("hub_cache")
def test_sst2_is_the_same_from_the_files_and_the_hub(tmp_path: Path, sst2: Any) -> None:
    write_tsv(tmp_path / "unix" / "SST-2", TRAIN, DEV)
    write_tsv(tmp_path / "windows" / "SST-2", TRAIN, DEV, end="\r\n")
    features = datasets.Features({"sentence": datasets.Value("string"), "label": datasets.ClassLabel(num_classes=2)})
    for split, pairs in (("train", TRAIN), ("validation", DEV)):
        table = {"sentence": [sentence for sentence, _ in pairs], "label": [label for _, label in pairs]}
        path = tmp_path / "hub" / "sst2" / f"{split}.parquet"
        datasets.Dataset.from_dict(table, features=features).to_parquet(path)
    write_card(tmp_path / "hub", "sst2", ("train", "validation"))

    read = [read_sst2(sst2, folder) for folder in (tmp_path / "unix", tmp_path / "windows", tmp_path, None)]
    for base in read:
        assert base.raw == tuple(sentence for sentence, _ in TRAIN + DEV)
        assert base.labels.tolist() == [label for _, label in TRAIN + DEV]
        assert not base.official
        assert base.note.startswith("not verified: ")
    assert len({base.digest for base in read}) == 1
    assert {base.official for base in (read_sst2(replace(sst2, known={read[0].digest: ""}), None),)} == {True}


def test_every_kind_of_damage_to_a_tsv_is_reported_at_once(tmp_path: Path, sst2: Any) -> None:
    write_tsv(tmp_path / "SST-2", TRAIN, DEV)
    path = tmp_path / "SST-2" / "train.tsv"
    path.write_text("sentence,label\nfine \t1\nno tab\nlabel \t2\n\na\tb\t0\nx\ny\nz\n")
    with pytest.raises(DataError) as error:
        read_sst2(sst2, tmp_path)
    message = str(error.value)
    assert "line 1: expected the header" in message
    assert "line 3: expected a sentence, a tab and 0 or 1, got 'no tab'" in message
    assert "line 4" in message
    assert "2 more such lines" in message
    assert "expected 3 rows after the header, got 8" in message
    assert "https://dl.fbaipublicfiles.com/glue/data/SST-2.zip" in message


def test_a_missing_empty_or_undecodable_tsv_is_refused(tmp_path: Path, sst2: Any) -> None:
    write_tsv(tmp_path / "SST-2", TRAIN, DEV)
    dev = tmp_path / "SST-2" / "dev.tsv"
    dev.write_bytes(b"sentence\tlabel\n\xff\t1\n")
    with pytest.raises(DataError, match=r"dev\.tsv: expected UTF-8"):
        read_sst2(sst2, tmp_path)
    dev.write_bytes(b"")
    with pytest.raises(DataError, match=r"dev\.tsv(.|\n)*expected 2 rows after the header, got 0"):
        read_sst2(sst2, tmp_path)
    dev.unlink()
    with pytest.raises(DataError, match=r"dev\.tsv: no such file"):
        read_sst2(sst2, tmp_path)


def test_without_files_and_network_the_error_says_what_to_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **kwargs: Any) -> Any:
        raise ConnectionError(f"could not reach {args} {kwargs}")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    for name in ("cifar10", "sst2"):
        info = DATASETS[name]
        with pytest.raises(DataError) as error:
            load_base(name, tmp_path)
        message = str(error.value)
        assert f"{info.title} not found." in message
        assert f"looked in {tmp_path.resolve()}: no {info.layout}" in message
        hub = f"on the Hub: {info.hub_id} {info.hub_config}: ConnectionError: could not reach ('{info.hub_id}', "
        assert f"{hub}'{info.hub_config}') {{'split': 'train'}}" in message
        assert info.url in message
        assert f"expected: {info.num_records:,} rows" in message
        assert "MICO_HUB_DATA=FOLDER" in message
    monkeypatch.delenv("MICO_HUB_DATA", raising=False)
    with pytest.raises(DataError, match="looked in no local folder: MICO_HUB_DATA is not set"):
        load_base("sst2")


def test_the_tokenizer_is_roberta_bases() -> None:
    assert tokenizer()("Hello world!")["input_ids"] == [0, 31414, 232, 328, 2]
    assert len(tokenizer()) == 50_265
    assert tokenizer() is tokenizer()


def test_sentences_are_padded_or_cut_to_67_tokens() -> None:
    encoded = tokenise(["Hello world!", "word " * 100])
    assert {key: (x.shape, x.dtype) for key, x in encoded.items()} == {
        "input_ids": ((2, 67), torch.int64),
        "attention_mask": ((2, 67), torch.int64),
    }
    assert encoded["input_ids"][0].tolist() == [0, 31414, 232, 328, 2] + [1] * 62
    assert encoded["attention_mask"].sum(dim=1).tolist() == [5, 67]
    assert encoded["input_ids"][1, -1] == 2


# Purchase-100, a few hundred rows of it

SHOPPERS = 250


@pytest.fixture
def shoppers() -> tuple[Bytes, Bytes]:
    """Bits (250, 600) and labels from 0 (250,), every class among them."""
    rng = np.random.default_rng(3)
    return rng.integers(0, 2, (SHOPPERS, 600), np.uint8), rng.permutation(np.arange(SHOPPERS) % 100).astype(np.uint8)


def as_text(bits: Bytes, labels: Bytes) -> bytes:
    return b"".join(b"%d,%s\n" % (y + 1, ",".join(map(str, x)).encode()) for x, y in zip(bits, labels, strict=True))


@pytest.fixture
def text(shoppers: tuple[Bytes, Bytes]) -> bytes:
    return as_text(*shoppers)


@pytest.fixture
def purchase() -> Any:
    return replace(DATASETS["purchase100"], splits={"all": SHOPPERS})


def write_text(folder: Path, content: bytes) -> Path:
    path = folder / "purchase100" / "dataset_purchase"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_archive(folder: Path, *members: tuple[str, bytes | None]) -> Path:
    """A member without content is a symbolic link to /etc/passwd."""
    path = folder / "purchase100" / "dataset_purchase.tgz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content or b""))
    return path


@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.parametrize("chunk", [1_300, 5_000, 1 << 22])
def test_purchase100_is_read_in_pieces_of_any_size(
    tmp_path: Path, purchase: Any, shoppers: tuple[Bytes, Bytes], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bits_module, "CHUNK", chunk)
    bits, labels = shoppers
    for end in (b"\n", b""):
        write_text(tmp_path, as_text(bits, labels).removesuffix(b"\n") + end)
        base = purchase_module.read(purchase, tmp_path)
        assert isinstance(base.raw, torch.Tensor)
        assert base.raw.dtype == torch.uint8
        assert torch.equal(base.raw, torch.from_numpy(bits))
        assert base.labels.tolist() == labels.tolist()
        assert base.digest == content_digest("purchase100", labels, np.packbits(bits, axis=1))
        inputs = tensors(base.inputs([7, 3]))["inputs"]
        assert inputs.dtype == torch.float32
        assert inputs.tolist() == bits[[7, 3]].tolist()


def test_malformed_lines_are_those_that_a_regular_expression_refuses(text: bytes) -> None:
    rng = np.random.default_rng(4)
    for _ in range(300):
        damaged = bytearray(text[: rng.integers(1_200, 6_000)] + b"\n")
        for _ in range(rng.integers(0, 4)):
            place = int(rng.choice([rng.integers(0, 5), rng.integers(0, len(damaged) - 1)]))
            new = bytes(rng.choice(list(b"0129,\n x\xff/:"), rng.integers(0, 3)).astype(np.uint8))
            damaged[place : place + int(rng.integers(0, 2))] = new
        lines = bytes(damaged).split(b"\n")[:-1]
        matches = [re.fullmatch(rb"(\d{1,3})((,[01]){600})", line) for line in lines]
        labels = [int(match[1]) if match else 0 for match in matches]
        parsed_bits, parsed_labels, wrong = bits_module._parse_lines(bytes(damaged), 100, 600)
        assert wrong.tolist() == [not 1 <= label <= 100 for label in labels]
        for match, label, row, parsed, bad in zip(matches, labels, parsed_bits, parsed_labels, wrong, strict=True):
            if match and not bad:
                assert parsed == label - 1
                assert np.unpackbits(row).tolist() == [int(bit) for bit in match[2].decode()[1::2]]
        for line, bad in zip(lines, wrong, strict=True):
            if bad:
                assert "got" in bits_module._describe(line, 100, 600)


@pytest.mark.usefixtures("fresh_cache")
def test_the_first_malformed_lines_are_reported_by_number(
    tmp_path: Path, purchase: Any, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bits_module, "CHUNK", 5_000)
    lines = text.split(b"\n")
    lines[0] = lines[0][:-2]
    lines[40] = lines[40][:-1] + b"2"
    lines[99] = b"101" + lines[99][lines[99].index(b",") :]
    lines[120] = b""
    lines[130:140] = [b"x"] * 10
    path = write_text(tmp_path, b"\n".join(lines[:-2]))
    with pytest.raises(DataError) as error:
        purchase_module.read(purchase, tmp_path)
    message = str(error.value)
    expected = "expected a label from 1 to 100 and 600 bits, comma-separated, got"
    place = len(lines[40])
    assert message.startswith(
        f"{path} (expected 250 rows in 100 classes): get it from https://github.com/privacytrustlab"
    )
    assert f"line 1: {expected} 599 bits after the label" in message
    assert f"line 41: {expected} '2' as character {place:,}" in message
    assert f"line 100: {expected} the label '101'" in message
    assert f"line 121: {expected} the label ''" in message
    assert f"line 131: {expected} the label 'x'" in message
    assert "9 more such lines" in message
    assert "expected 250 rows, got 249" in message


@pytest.mark.usefixtures("fresh_cache")
def test_a_text_without_line_ends_is_refused_piece_by_piece(
    tmp_path: Path, purchase: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bits_module, "CHUNK", 1_000)
    write_text(tmp_path, b"7" * 10_000)
    with pytest.raises(DataError, match=r"line 1: .* got the label '7{20}'"):
        purchase_module.read(purchase, tmp_path)


@pytest.mark.usefixtures("fresh_cache")
def test_an_empty_text_and_a_missing_class_are_refused(tmp_path: Path, purchase: Any, text: bytes) -> None:
    write_text(tmp_path, b"")
    with pytest.raises(DataError, match="expected 250 rows, got 0"):
        purchase_module.read(purchase, tmp_path)
    write_text(tmp_path, re.sub(rb"(?m)^100,", b"99,", text))
    with pytest.raises(DataError, match="expected each of the classes 0 to 99, got 99 classes from 0 to 98"):
        purchase_module.read(purchase, tmp_path)


def test_purchase100_has_no_hub_and_the_error_says_where_it_is(tmp_path: Path, purchase: Any) -> None:
    for folder in (None, tmp_path):
        with pytest.raises(
            DataError, match=r"Purchase-100 not found(.|\n)*privacytrustlab(.|\n)*dataset_purchase\.tgz"
        ):
            purchase_module.read(purchase, folder)
    (tmp_path / "purchase100").mkdir()
    with pytest.raises(DataError, match="Purchase-100 not found"):
        purchase_module.read(purchase, tmp_path)


@pytest.mark.usefixtures("fresh_cache")
def test_only_the_authors_archive_is_official(
    tmp_path: Path, purchase: Any, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_text(tmp_path, text)
    plain = purchase_module.read(purchase, tmp_path)
    assert plain.note.startswith("not verified: only the authors' archive")
    path.with_name("STANDIN").touch()
    assert purchase_module.read(purchase, tmp_path).note == "synthetic stand-in, not the dataset"
    path.with_name("STANDIN").unlink()

    archive = write_archive(tmp_path, ("README", b"x"), ("./dataset_purchase", text), ("more", b"y"))
    assert not purchase_module.read(purchase, tmp_path).official
    monkeypatch.setattr(purchase_module, "FORM", replace(purchase_module.FORM, blob=git_blob(archive)))
    for _ in range(2):  # parsed, then from the cache
        packed = purchase_module.read(purchase, tmp_path)
        assert packed.official
        assert packed.digest == plain.digest


def test_a_blob_id_is_gits(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello\n")
    assert git_blob(tmp_path / "a") == "ce013625030ba8dba906f756967f9e9ca394464a"


@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.parametrize(
    "members",
    [(), (("dataset_purchase", None),), (("other", b"x"),), (("dataset_purchase", bytes(1_206 * SHOPPERS + 1)),)],
    ids=["empty", "link", "another file", "too large"],
)
def test_an_archive_without_the_one_plain_file_is_refused(
    tmp_path: Path, purchase: Any, members: tuple[tuple[str, bytes | None], ...]
) -> None:
    write_archive(tmp_path, *members)
    with pytest.raises(
        DataError, match=r"dataset_purchase\.tgz: expected a regular file dataset_purchase of at most 301,500"
    ):
        purchase_module.read(purchase, tmp_path)


@pytest.mark.usefixtures("fresh_cache")
def test_a_damaged_archive_is_refused(tmp_path: Path, purchase: Any, text: bytes) -> None:
    path = write_archive(tmp_path, ("dataset_purchase", text))
    whole = path.read_bytes()
    middle = len(whole) // 2
    for damaged in (b"", b"not gzip", whole[:middle], whole[:middle] + bytes(100) + whole[middle + 100 :]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"expected a whole \.tgz archive|line [\d,]+: |rows, got"):
            purchase_module.read(purchase, tmp_path)


def test_the_second_load_comes_from_the_cache_and_a_damaged_cache_is_made_anew(
    tmp_path: Path, purchase: Any, text: bytes, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []
    parse = bits_module.parse

    def counting(info: Any, form: Any, stream: Any, size: int, name: str) -> tuple[Bytes, Bytes]:
        parsed.append(name)
        return parse(info, form, stream, size, name)

    monkeypatch.setattr(bits_module, "parse", counting)
    path = write_text(tmp_path, text)
    digest = purchase_module.read(purchase, tmp_path).digest
    (cached,) = (fresh_cache / "data").iterdir()
    whole = cached.read_bytes()
    assert purchase_module.read(purchase, tmp_path).digest == digest
    assert len(parsed) == 1

    flipped = bytearray(whole)
    flipped[-1] ^= 1
    for damaged in (b"", b"garbage" * 100, whole[:-10], bytes(flipped)):
        cached.write_bytes(damaged)
        parsed.clear()
        for _ in range(2):
            assert purchase_module.read(purchase, tmp_path).digest == digest
        assert len(parsed) == 1

    path.write_bytes(text.replace(b",0\n", b",1\n", 1))
    assert purchase_module.read(purchase, tmp_path).digest != digest


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, purchase: Any, text: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MICO_HUB_CACHE", str(tmp_path / "file" / "cache"))
    write_text(tmp_path, text)
    assert len(purchase_module.read(purchase, tmp_path)) == SHOPPERS
    assert "the next load parses the text again" in caplog.text


# Location-30, sixty people of it

PEOPLE = 60


@pytest.fixture
def location() -> Any:
    return replace(DATASETS["location30"], splits={"all": PEOPLE}, labels_sha256=None)


@pytest.fixture
def people() -> dict[str, Any]:
    rng = np.random.default_rng(4)
    bits = rng.integers(0, 2, (PEOPLE, 446), np.uint8)
    labels = (np.arange(PEOPLE) % 30).astype(np.uint8)
    return {"features": np.packbits(bits, axis=1), "labels": labels, "n_features": 446}


def write_location(folder: Path, arrays: dict[str, Any]) -> None:
    (folder / "location30").mkdir(parents=True)
    np.savez(folder / "location30" / "location30.npz", **arrays)


def bangkok(base: BaseDataset) -> bytes:
    """The text that the authors distribute."""
    records = torch.as_tensor(base.raw).tolist()
    return "".join(
        f'"{label + 1}",{",".join(map(str, bits))}\n' for label, bits in zip(base.labels.tolist(), records, strict=True)
    ).encode()


def write_bangkok(folder: Path, text: bytes, packed: bool) -> None:
    (folder / "location30").mkdir(parents=True)
    if packed:
        member = tarfile.TarInfo("bangkok")
        member.size = len(text)
        with tarfile.open(folder / "location30" / "dataset_location.tgz", "w:gz") as archive:
            archive.addfile(member, io.BytesIO(text))
    else:
        (folder / "location30" / "bangkok").write_bytes(text)


def test_location30_is_unpacked(tmp_path: Path, location: Any, people: dict[str, Any]) -> None:
    write_location(tmp_path, people)
    base = location_module.read(location, tmp_path)
    inputs = tensors(base.inputs(range(PEOPLE)))["inputs"]
    assert inputs.dtype == torch.float32
    assert inputs.tolist() == np.unpackbits(people["features"], axis=1)[:, :446].tolist()
    assert base.labels.tolist() == people["labels"].tolist()
    assert base.note.startswith("not verified")
    assert base.digest == content_digest("location30", people["labels"], people["features"])


@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.parametrize("packed", [False, True])
def test_location30_is_read_as_its_authors_distribute_it(
    tmp_path: Path, location: Any, people: dict[str, Any], packed: bool
) -> None:
    write_location(tmp_path / "packed", people)
    base = location_module.read(location, tmp_path / "packed")
    text = bangkok(base)
    write_bangkok(tmp_path / "original", text, packed)
    assert location_module.read(location, tmp_path / "original") == base
    write_bangkok(tmp_path / "damaged", text.replace(b'"2"', b'"31"', 1), packed)
    with pytest.raises(DataError, match=r"line 2: expected a label from 1 to 30 and 446 bits, .* got the label '31'"):
        location_module.read(location, tmp_path / "damaged")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_features": 445}, "expected uint8 features (60, 56) and labels of 446 bits"),
        ({"features": np.zeros((PEOPLE, 55), np.uint8)}, "got uint8 (60, 55)"),
        ({"labels": np.zeros(PEOPLE, np.uint8)}, "expected each of the classes 0 to 29"),
        ({"labels": np.array(["a"], dtype=object)}, "allow_pickle=False"),
    ],
)
def test_a_damaged_location30_is_refused(
    tmp_path: Path, location: Any, people: dict[str, Any], changed: dict[str, Any], message: str
) -> None:
    write_location(tmp_path, people | changed)
    with pytest.raises(DataError, match=re.escape(message)):
        location_module.read(location, tmp_path)


def test_location30_has_no_hub_and_its_file_must_be_whole(tmp_path: Path, location: Any) -> None:
    with pytest.raises(DataError, match="Location-30 not found"):
        location_module.read(location, tmp_path)
    (tmp_path / "location30").mkdir()
    (tmp_path / "location30" / "location30.npz").write_bytes(b"PK\3\4")
    with pytest.raises(DataError, match=r"location30\.npz: expected location30/dataset_location\.tgz"):
        location_module.read(location, tmp_path)


# The real datasets


@pytest.mark.data
def test_the_real_location30_is_official(data_folder: Path) -> None:
    base = load_base("location30", data_folder)
    assert base.official
    assert tensors(base.inputs([0, 5_009]))["inputs"].shape == (2, 446)
    assert (int(base.labels.bincount().min()), int(base.labels.bincount().max())) == (97, 308)


@pytest.mark.data
@pytest.mark.usefixtures("fresh_cache")
def test_the_real_location30_is_read_from_its_authors_text(data_folder: Path, tmp_path: Path) -> None:
    base = load_base("location30", data_folder)
    text = bangkok(base)
    assert sha256(text) == "2ca8f7fc231251e089823e44d39f2d1eed124574cc351c7f80368cfe631dd718"  # of their file
    write_bangkok(tmp_path / "original", text, packed=True)
    again = location_module.read(DATASETS["location30"], tmp_path / "original")
    assert again.official
    assert again == base


@pytest.mark.data
def test_the_real_sst2_is_official(data_folder: Path) -> None:
    base = load_base("sst2", data_folder)
    assert base.official
    assert len(base) == 68_221
    assert base.labels.bincount().tolist() == [30_208, 38_013]
    assert base.raw[0] == "hide new secretions from the parental units "
    assert base.raw[67_349] == "it 's a charming and often affecting journey . "
    with pytest.raises(DataError, match="expected a network whose tokeniser"):
        base.inputs([0])
    encoded = tensors(prepared(base, "roberta").inputs([0, 67_349]))
    assert encoded["attention_mask"].sum(dim=1).min() > 5
    assert [
        hashlib.sha256((data_folder / "SST-2" / f"{name}.tsv").read_bytes()).hexdigest() for name in ("train", "dev")
    ] == [
        "48eac26399f8456935f81dd9e3a745c1430adb6c62e233ccfe22db4a0d15d1d1",
        "54a9c12c77e402fc14d6a66a506f24d999f596b0176eb777c972cccc2f9cc4b0",
    ]


@pytest.mark.data
def test_the_real_cifar10_has_the_competitions_order(data_folder: Path) -> None:
    base = load_base("cifar10", data_folder)
    assert len(base) == 60_000
    assert base.labels[:50_000].bincount().tolist() == [5_000] * 10
    assert base.official or "104 of 60,000 images" in base.note
    assert isinstance(base.raw, torch.Tensor)
    pixels = base.raw.numpy()
    means = pixels[:50_000].mean(axis=(0, 2, 3)) / 255
    np.testing.assert_allclose(means, MEAN, atol=1e-6)
    # what is said of a copy that differs only in the 104 images, and of one with another pixel
    assert judge(pixels) == (
        "not verified in full: 59,896 of 60,000 images are the official ones, "
        "for the other 104 no checksum is known here"
    )
    changed = pixels.copy()
    changed[cifar10_module.UNVERIFIED[0]] = 0
    assert judge(changed).startswith("not verified in full")
    changed[0, 0, 0, 0] ^= 1
    assert judge(changed).startswith("not verified: ")


@pytest.mark.data
def test_the_hubs_real_labels_are_right_only_when_put_in_order(data_folder: Path) -> None:
    labels = load_base("cifar10", data_folder).labels.numpy().astype(np.uint8)
    hub = np.concatenate([labels[(batch - 1) * 10_000 : batch * 10_000] for batch in HUB_BATCHES])
    expected = DATASETS["cifar10"].labels_sha256
    assert sha256(hub[hub_order(50_000)], labels[50_000:]) == expected
    assert sha256(hub, labels[50_000:]) != expected


@pytest.mark.data
@pytest.mark.usefixtures("fresh_cache")
def test_the_real_purchase100_or_its_stand_in_is_read(data_folder: Path) -> None:
    first = purchase_module.read(DATASETS["purchase100"], data_folder)
    second = purchase_module.read(DATASETS["purchase100"], data_folder)
    assert first.digest == second.digest
    assert len(first) == 197_324
    assert first.official or first.note.startswith(("synthetic stand-in", "not verified"))
    assert tensors(first.inputs([0, 197_323]))["inputs"].shape == (2, 600)
