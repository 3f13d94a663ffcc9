"""Croissant metadata of the published folder: what its files and columns are, for tools that do not know `datasets`.

Croissant is schema.org's Dataset with ML Commons' vocabulary of files, record sets and fields, in JSON-LD
(http://mlcommons.org/croissant/1.1). Version 1.1, because lists have a property of their own only there. Here each
Parquet file is a file object and a record set, `cifar10_hi/train`, with a field for each column. Checkpoints are not
listed: a set of files has to be in an archive, and each row has its checkpoint's path and digest.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from cards.render import origin, privacy, recipe
from mico_hub.data import DATASETS, DatasetInfo
from mico_hub.release import repository
from mico_hub.release.disclosure import reveals
from mico_hub.release.manifest import Manifest
from mico_hub.release.parquet import PUBLIC_SCHEMA, FolderError
from mico_hub.release.tensors import sha256_of
from mico_hub.suites import SPLITS

Node = dict[str, Any]
"""A node of JSON-LD: an object with a type."""

CONFORMS_TO = ("http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0")
URL = "https://github.com/microsoft/MICO"
LICENCE = "https://spdx.org/licenses/MIT"
PUBLISHED = "2023"
"""Croissant requires a date. It is the competition's, as in `CITATION`: that of a build would not be the same again."""

KEYWORDS = ("membership-inference", "differential-privacy", "privacy", "auditing", "benchmark")
CITATION = r"""@inproceedings{mico2023,
  title = {{MICO}: The {Microsoft} Membership Inference Competition},
  author = {Zanella-B{\'e}guelin, Santiago and Tople, Shruti and Paverd, Andrew and others},
  howpublished = {IEEE Conference on Secure and Trustworthy Machine Learning (SaTML), competition track},
  year = {2023},
  url = {https://github.com/microsoft/MICO}
}"""

USE_CASES = ("Research on membership inference attacks.", "Auditing of differential privacy.")
LIMITATIONS = (
    "A score on this benchmark is not the risk of another model or of other data.",
    "Epsilon and delta are for adding or removing one record. Exactly half of a model's challenge records are members, "
    "so that the game is one of substitution, for which epsilon is larger; but in suites by coins, where each is one "
    "by a fair coin of its own.",
)

COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "suite": "The suite that the model belongs to.",
        "split": "`train`, `dev` or `final`.",
        "model_id": "The model's number within its suite; ids run on through train, dev and final.",
        "checkpoint": "Path of the model's weights, a safetensors file, relative to the folder of this description.",
        "sha256": "SHA-256 of the checkpoint, in hexadecimal; null where it is not known, for some of the "
        "competition's models.",
        "num_bytes": "Size of the checkpoint in bytes.",
        "challenge": "The records to judge, as indices into the base dataset, half of them members.",
        "membership": "Aligned with challenge, 1 = member, 0 = non-member; null where hidden.",
        "training": "The other records that the model was trained on, as indices into the base dataset; null where "
        "hidden.",
        "accuracy": "Accuracy over records in neither challenge nor training set; null for the competition's models.",
        "epsilon": "Privacy budget spent, for adding or removing one record; infinite without differential privacy, "
        "null for the competition's models.",
        "delta": "The delta at which epsilon holds; null without differential privacy, and for the competition's "
        "models.",
    }
)
"""Column -> what it holds."""

DATA_TYPES: Mapping[pa.DataType, str] = MappingProxyType(
    {
        pa.string(): "sc:Text",
        pa.int8(): "sc:Integer",
        pa.int32(): "sc:Integer",
        pa.int64(): "sc:Integer",
        pa.float64(): "sc:Float",
    }
)
"""Type of a column, or of the values of its lists -> Croissant's."""

# The standard's own, and for mlcroissant, which warns of names that it misses: path, repeated, replace, samplingRate.
_TERMS = (
    *("annotation", "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "excludes", "extract"),
    *("field", "fileObject", "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath"),
    *("key", "md5", "parentField", "path", "readLines", "recordSet", "references", "regex", "repeated", "replace"),
    *("samplingRate", "sdVersion", "separator", "source", "subField", "transform", "unArchive", "value"),
)
CONTEXT: Mapping[str, Any] = MappingProxyType(
    {
        "@language": "en",
        "@vocab": "https://schema.org/",
        "sc": "https://schema.org/",
        "cr": "http://mlcommons.org/croissant/",
        "rai": "http://mlcommons.org/croissant/RAI/",
        "dct": "http://purl.org/dc/terms/",
        "conformsTo": "dct:conformsTo",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "examples": {"@id": "cr:examples", "@type": "@json"},
        **{term: f"cr:{term}" for term in _TERMS},
    }
)
"""What the names in the description mean."""


def croissant(root: Path, version: int = 1) -> bytes:
    """The Croissant description of a published folder; it belongs into that folder, for its paths are relative.

    Args:
        root: The published folder. Manifests, Parquet files and signals are read, and nothing else.
        version: Which version of the folder this is.

    Returns:
        JSON-LD, the same bytes for the same files and version.

    Raises:
        FolderError: There is no suite in the folder.
    """
    manifests = repository.suites_in(root)
    if not manifests:
        raise FolderError(f"{root}: expected at least one suite")
    splits = {manifest.suite.name: _splits(root, manifest.suite.name) for manifest in manifests}
    described = {
        **_about(manifests),
        "@context": dict(CONTEXT),
        "version": f"{version}.0.0",
        "distribution": [
            *(each for name, there in splits.items() for each in _tables(root, name, there)),
            *(each for name in splits for each in _signals(root, name)),
        ],
        "recordSet": [each for manifest in manifests for each in _record_sets(manifest, splits[manifest.suite.name])],
    }
    return (json.dumps(described, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _splits(root: Path, suite: str) -> list[str]:
    """Those with models."""
    return [split for split in SPLITS if (root / _path(suite, split)).exists()]


def _path(suite: str, split: str) -> str:
    """The Parquet file's, relative to the folder; also the name by which a field refers to it."""
    return f"{suite}/{repository.parquet_name(split)}"


def _about(manifests: Sequence[Manifest]) -> Node:
    """The dataset as a whole."""
    bases = _bases(manifests)
    return {
        "@type": "sc:Dataset",
        "conformsTo": list(CONFORMS_TO),
        "name": "MICO",
        "description": _description(manifests),
        "url": URL,
        "license": LICENCE,
        "creator": _creators(manifests),
        "datePublished": PUBLISHED,
        "keywords": list(KEYWORDS),
        "citeAs": "\n".join([CITATION, *(base.citation for base in bases)]),
        "isLiveDataset": False,  # new suites make a new version; the files of one never change
        "rai:dataUseCases": list(USE_CASES),
        "rai:dataLimitations": list(LIMITATIONS),
        "rai:personalSensitiveInformation": "The rows hold indices of records, never the records; a model may have "
        "memorised some. They are from public datasets, so that nobody's secrets are at stake. "
        + " ".join(base.description for base in bases),
    }


def _description(manifests: Sequence[Manifest]) -> str:
    total = sum(manifest.num_models for manifest in manifests)
    points = " or ".join(map(str, sorted({2 * manifest.suite.m for manifest in manifests})))
    sentences = [
        f"{total:,} trained models, each with {points} challenge records: half of them were in its training set. Which "
        "ones?",
        "A living form of the Microsoft Membership Inference Competition (MICO, 2022-23).",
        "A suite is models trained by one recipe, with or without differential privacy, on different random splits of "
        "one base dataset.",
        "There is a record set for each suite and split, with a record for each model. It names the model's weights, a "
        "safetensors file beside this description, with their SHA-256.",
        f"The competition's own models are under the terms of their publication ({URL})."
        if any(manifest.origin for manifest in manifests)
        else "",
        "The base datasets are not included and have terms of their own.",
        *(f"{base.title} ({base.url}): {base.licence}." for base in _bases(manifests)),
    ]
    return " ".join(filter(None, sentences))


def _bases(manifests: Sequence[Manifest]) -> list[DatasetInfo]:
    """The base datasets of the suites, each once."""
    return [DATASETS[name] for name in dict.fromkeys(manifest.suite.dataset for manifest in manifests)]


def _creators(manifests: Sequence[Manifest]) -> list[Node]:
    """Who trained the models."""
    theirs = {"@type": "sc:Organization", "name": "The Microsoft Membership Inference Competition", "url": URL}
    ours = {"@type": "sc:Organization", "name": "The mico-hub authors"}
    creators = [theirs if manifest.origin else ours for manifest in manifests]
    return [creator for creator in (ours, theirs) if creator in creators]


def _tables(root: Path, suite: str, splits: Sequence[str]) -> Iterator[Node]:
    for split in splits:
        about = f"The models of {suite}, {split}; a row for each."
        yield _file_object(root, _path(suite, split), about, "application/x-parquet")


def _signals(root: Path, suite: str) -> Iterator[Node]:
    for path in repository.signal_files(root, suite):
        about = f"Signal {path.stem} of the models of {suite}: a number for each model and record."
        # safetensors has no registered type
        yield _file_object(root, path.relative_to(root).as_posix(), about, "application/octet-stream")


def _file_object(root: Path, relative: str, description: str, encoding: str) -> Node:
    path = root / relative
    return {
        "@type": "cr:FileObject",
        "@id": relative,
        "name": path.name,
        "description": description,
        "contentUrl": relative,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": encoding,
        "sha256": sha256_of(path),
    }


def _record_sets(manifest: Manifest, splits: Sequence[str]) -> Iterator[Node]:
    suite = manifest.suite
    of_suite = [
        f"Origin: {origin(manifest)}" if manifest.origin else "",
        f"Base dataset: {DATASETS[suite.dataset].title}.",
        f"Recipe: {recipe(suite)}",
        f"Privacy: {privacy(manifest)}",
    ]
    for split in splits:
        name = f"{suite.name}/{split}"
        membership, training = ("shown" if shown else "hidden" for shown in reveals(suite, split))
        of_split = f"Membership is {membership}, the other training records are {training}."
        yield {
            "@type": "cr:RecordSet",
            "@id": name,
            "name": name,
            "description": " ".join(filter(None, [*of_suite, of_split])),
            "key": {"@id": f"{name}/model_id"},
            "field": [_field(name, _path(suite.name, split), column) for column in PUBLIC_SCHEMA],
        }


def _field(record_set: str, file: str, column: pa.Field) -> Node:
    is_list = pa.types.is_list(column.type)
    return {
        "@type": "cr:Field",
        "@id": f"{record_set}/{column.name}",
        "name": column.name,
        "description": COLUMNS[column.name],
        "dataType": DATA_TYPES[column.type.value_type if is_list else column.type],
        **({"isArray": True, "arrayShape": "-1"} if is_list else {}),
        "source": {"fileObject": {"@id": file}, "extract": {"column": column.name}},
    }
