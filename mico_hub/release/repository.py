"""The published dataset: data only. Parquet files and checkpoints of one or more suites, and a card that names them.

    mico/
        README.md                                       YAML: one config per suite with typed features; then the card
        cifar10_hi/suite.json                           recipe, noise multiplier, digest of the base dataset
        cifar10_hi/train-00000-of-00001.parquet         one row per model
        cifar10_hi/train/model_0.safetensors
        cifar10_hi/signals/loss.safetensors             a number for each model and record, see `signals`; if computed
        versions.json                                   what each version, a tag v1, v2, ... on the Hub, holds
        croissant.json                                  the same for machines that do not know `datasets`
        eval.yaml                                       where the Hub is asked for a board, see `publishing.eval_yaml`

`load_dataset("./mico", "cifar10_hi")` reads such a folder without any code of ours.
"""

import glob
import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from datasets import DatasetInfo, Features
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData

from mico_hub.cache import atomic_path, atomic_write
from mico_hub.release.folder import PUBLIC, SIGNALS, SuiteFolder
from mico_hub.release.format import FormatError, known_keys, parse, stamped
from mico_hub.release.manifest import Manifest, logical_content
from mico_hub.release.parquet import PUBLIC_SCHEMA, FolderError, digest_of_rows, each_row, read_rows, write_rows
from mico_hub.release.rows import Row
from mico_hub.release.tensors import digest_of_tensors
from mico_hub.suites import SPLITS, SUITES

CARD = "README.md"
MANIFEST = "suite.json"
VERSIONS = "versions.json"
CROISSANT = "croissant.json"
EVAL = "eval.yaml"

FEATURES = Features.from_arrow_schema(PUBLIC_SCHEMA)


def parquet_name(split: str) -> str:
    """The name of a split's Parquet file, as `datasets` itself names one."""
    return f"{split}-00000-of-00001.parquet"


def has_suite(root: Path, name: str) -> bool:
    """Whether the folder holds that suite, published and whole: its manifest is written last."""
    return (root / name / MANIFEST).is_file() and not (root / name / PUBLIC).is_dir()


def suites_in(root: Path) -> list[Manifest]:
    """The suites that a folder holds: in the table's order, then by name."""
    order = list(SUITES)
    found = (path.parent.name for path in root.glob(f"*/{MANIFEST}"))
    names = sorted(name for name in found if has_suite(root, name))
    names.sort(key=lambda name: order.index(name) if name in SUITES else len(order))
    return [read_manifest(root, name) for name in names]


def loading(root: Path, name: str) -> dict[str, Any]:
    """What `datasets.load_dataset` takes, beside the name, for a suite in a published folder.

    The folder, but where `datasets` would read its path as a pattern, `run[1]` say: there the files.
    """
    if not glob.has_magic(str(root)):
        return {"path": str(root)}
    paths = {split: root / name / parquet_name(split) for split in SPLITS}
    files = {split: glob.escape(str(path)) for split, path in paths.items() if path.exists()}
    return {"path": "parquet", "data_files": files}


def read_manifest(root: Path, name: str) -> Manifest:
    """The manifest of a suite in a published folder.

    Raises:
        FormatError: It is not there, not one, or of a newer format.
    """
    path = root / name / MANIFEST
    try:
        text = path.read_bytes()
    except OSError as error:
        raise FolderError(f"{path}: expected a suite's manifest: {error}") from error
    return Manifest.from_json(text, str(path))


def write_suite(root: Path, folder: SuiteFolder, rows: Mapping[str, Sequence[Row]]) -> None:
    """Adds a suite to the published folder, replacing one of that name; the card is `write_card`'s.

    Args:
        root: The published folder; made if it is missing.
        folder: The suite folder; only its public part is read.
        rows: Split -> public rows.
    """
    manifest = folder.manifest()
    target = root / manifest.suite.name
    (target / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    for row in (row for split in SPLITS for row in rows.get(split, ())):
        source = folder.checkpoint(manifest.suite, row["model_id"])
        with atomic_path(root / row["checkpoint"], row["num_bytes"]) as temporary:
            shutil.copyfile(source, temporary)
    write_signals(root, folder)
    write_public(root, manifest, rows)


def write_signals(root: Path, folder: SuiteFolder) -> None:
    """Copies a suite's signals, where it has some."""
    for source in sorted(folder.signals.glob("*.safetensors")):
        with atomic_path(root / folder.manifest().suite.name / SIGNALS / source.name) as temporary:
            shutil.copyfile(source, temporary)


def signal_files(root: Path, name: str) -> list[Path]:
    """A suite's files of signals."""
    return sorted((root / name / SIGNALS).glob("*.safetensors"))


def parquet_files(root: Path, name: str) -> list[Path]:
    """A suite's Parquet files that are there, in the order of the splits."""
    paths = [root / name / parquet_name(split) for split in SPLITS]
    return [path for path in paths if path.exists()]


def each_row_of(root: Path, name: str) -> Iterator[Row]:
    """The rows of a suite, by id; a few are held at a time.

    Raises:
        FolderError: A Parquet file is not what it should be.
    """
    for path in parquet_files(root, name):
        yield from each_row(path)


def write_public(root: Path, manifest: Manifest, rows: Mapping[str, Sequence[Row]]) -> None:
    """Writes a suite's rows and, last, its manifest; checkpoints are none of its business."""
    target = root / manifest.suite.name
    for split in SPLITS:
        if rows.get(split):
            write_rows(rows[split], target / parquet_name(split))
    atomic_write(target / MANIFEST, manifest.to_json())


def public_rows(folder: SuiteFolder) -> dict[str, list[Row]]:
    """Split -> the public rows of a complete suite folder.

    Raises:
        FolderError: The suite is not complete.
    """
    folder.require_complete()
    rows = read_rows(folder.rows_path(PUBLIC))
    return {split: [row for row in rows if row["split"] == split] for split in SPLITS}


def content_digest(root: Path, name: str) -> str:
    """SHA-256 over what a suite says, and not over the bytes of its files, which differ by who wrote them.

    Over a line for each part, `NAME SHA256`: the manifest, the rows of each split, which hold the checkpoints' own
    digests, and each signal. docs/format.md says what each part's digest is over.
    """
    manifest = root / name / MANIFEST
    parts = {"manifest": hashlib.sha256(logical_content(manifest.read_bytes(), str(manifest))).hexdigest()}
    for path in parquet_files(root, name):
        parts[f"rows {path.name.partition('-')[0]}"] = digest_of_rows(each_row(path))
    for path in signal_files(root, name):
        parts[f"signal {path.stem}"] = digest_of_tensors(path)
    lines = "".join(f"{part} {digest}\n" for part, digest in parts.items())
    return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Version:
    """What a folder held when it changed."""

    number: int
    suites: dict[str, str]  # name -> content digest

    @property
    def tag(self) -> str:
        """The name of the revision on the Hub."""
        return f"v{self.number}"


def versions(root: Path) -> list[Version]:
    """The folder's versions, oldest first; none where it keeps none.

    Raises:
        FolderError: `versions.json` is no list of versions, numbered from 1.
    """
    path = root / VERSIONS
    if not path.is_file():
        return []
    return versions_from(path.read_bytes(), str(path))


def versions_from(text: bytes, where: str) -> list[Version]:
    """The inverse of how `add_version` writes them.

    Raises:
        FolderError: It is no list of versions, numbered from 1.
    """
    try:
        listed = known_keys(parse(text, where), _VERSION_KEYS, where).get("versions")
        if not isinstance(listed, list):
            raise TypeError(f"the versions are a {type(listed).__name__}")
        found = [Version(values["number"], values["suites"]) for values in listed]
        numbers = [version.number for version in found]
        if any(type(number) is not int for number in numbers) or numbers != list(range(1, len(found) + 1)):
            raise ValueError("they are not numbered 1, 2, ...")
        held = [pair for version in found for pair in version.suites.items()]
        if not all(re.fullmatch(r"\w{1,40}", name) and re.fullmatch(r"[0-9a-f]{64}", digest) for name, digest in held):
            raise ValueError("expected names of suites and their digests")
    except FormatError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FolderError(f"{where}: expected a list of versions: {error!r}") from error
    return found


_VERSION_KEYS = ("versions",)


def content_digests(root: Path) -> dict[str, str]:
    """Each suite's content digest: everything that the suites hold is read for it."""
    return {manifest.suite.name: content_digest(root, manifest.suite.name) for manifest in suites_in(root)}


def add_version(root: Path) -> dict[str, str]:
    """Notes what the folder holds, which is returned, as a new version, if it is not what the last one held."""
    known, held = versions(root), content_digests(root)
    if not known or known[-1].suites != held:
        atomic_write(root / VERSIONS, versions_json([*known, Version(len(known) + 1, held)]))
    return held


def versions_json(listed: Sequence[Version]) -> bytes:
    """The one form of `versions.json`."""
    values = stamped({"versions": [asdict(version) for version in listed]})
    return (json.dumps(values, indent=1, sort_keys=True) + "\n").encode()


def header(root: Path, digests: Mapping[str, str]) -> str:
    """The card's YAML: one config per suite in the folder, its features, and the data set's tags.

    `datasets` makes its cache's key from the configs and not from the files, so each description carries a digest of
    the content: without it an edited file would go unseen.
    """
    names = list(digests)
    if not names:
        raise FolderError(f"{root}: expected at least one suite")
    data = DatasetCardData(
        pretty_name="MICO: membership inference on trained models",
        license="mit",
        tags=["membership-inference", "differential-privacy", "privacy", "auditing", "benchmark"],
        size_categories=["n<1K"],
    )
    DatasetInfosDict({name: DatasetInfo(features=FEATURES, config_name=name) for name in names}).to_dataset_card_data(
        data
    )
    MetadataConfigs(
        {
            name: {
                "description": f"content sha256 {digests[name]}",
                "data_files": [
                    {"split": split, "path": f"{name}/{parquet_name(split)}"}
                    for split in SPLITS
                    if (root / name / parquet_name(split)).exists()
                ],
            }
            for name in names
        }
    ).to_dataset_card_data(data)
    return f"---\n{data.to_yaml()}\n---\n"


def configs_of(card: str) -> list[str]:
    """The names of the configs in a card's YAML; none where there is no YAML."""
    parts = card.split("---\n", maxsplit=2)
    if len(parts) < 3:
        return []
    return [config["config_name"] for config in (yaml.safe_load(parts[1]) or {}).get("configs", [])]


def card(root: Path, body: str, digests: Mapping[str, str] | None = None) -> bytes:
    """The card: the YAML of what is in the folder, then `body` in Markdown; for `content_digests` that are known."""
    return (header(root, digests or content_digests(root)) + "\n" + body.strip() + "\n").encode()


def write_card(root: Path, body: str) -> None:
    """Writes the card."""
    atomic_write(root / CARD, card(root, body))
