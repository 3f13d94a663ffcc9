"""GLUE's SST-2: train, then validation. A record is a sentence, with the trailing blank that GLUE has."""

import json
from pathlib import Path
from types import MappingProxyType

import numpy as np

from mico_hub.data.base import BaseDataset, DataError, DatasetInfo, Twins, assemble, require_files
from mico_hub.data.hub import load_hub
from mico_hub.messages import counted

FOLDER, FILES = "SST-2", ("train.tsv", "dev.tsv")

INFO = DatasetInfo(
    name="sst2",
    title="SST-2",
    description="68,221 sentences and phrases of film reviews, negative or positive: GLUE's train, then validation.",
    splits=MappingProxyType({"train": 67_349, "validation": 872}),
    classes=2,
    url="https://dl.fbaipublicfiles.com/glue/data/SST-2.zip",
    layout=" and ".join(f"{FOLDER}/{file}" for file in FILES),
    licence="no explicit licence; distributed for research through GLUE",
    citation="""@inproceedings{socher2013recursive,
  author = {Socher, Richard and Perelygin, Alex and Wu, Jean and Chuang, Jason and Manning, Christopher D. and
            Ng, Andrew and Potts, Christopher},
  title = {Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank},
  booktitle = {EMNLP},
  year = {2013}
}
@inproceedings{wang2019glue,
  author = {Wang, Alex and Singh, Amanpreet and Michael, Julian and Hill, Felix and Levy, Omer and Bowman, Samuel R.},
  title = {{GLUE}: A Multi-Task Benchmark and Analysis Platform for Natural Language Understanding},
  booktitle = {ICLR},
  year = {2019}
}""",
    hub_id="nyu-mll/glue",
    hub_config="sst2",
    labels_sha256="5003a7b4e1bbe7257f767dc76ac755647a511167c728cf0535d443eda5779c9d",
    known=MappingProxyType({"a82b5e1e6350a1c2393596514619c0e0487eb815e1852fb0394588413a341e00": ""}),
    twins=Twins(
        records=tuple(json.loads(Path(__file__).with_name("sst2_twins.json").read_bytes())),
        other_label=10,
        contained=60_467,
    ),
)


def read(info: DatasetInfo, folder: Path | None) -> BaseDataset:
    """Reads SST-2: GLUE's two files, else the Hub.

    Raises:
        DataError: No source has it, or what is there is damaged or not in order.
    """
    if folder and (folder / FOLDER).exists():
        paths = [folder / FOLDER / file for file in FILES]
        require_files(info, paths)
        parts = [read_tsv(info, path, rows) for path, rows in zip(paths, info.splits.values(), strict=True)]
        source = str(folder / FOLDER)
    else:
        parts = [(list(p["sentence"]), list(p["label"])) for p in load_hub(info, folder, ("sentence", "label"))]
        source = f"the Hub ({info.hub_id})"
    sentences = tuple(sentence for part, _ in parts for sentence in part)
    labels = np.array([label for _, part in parts for label in part]).astype(np.uint8)
    return assemble(
        info,
        labels,
        json.dumps(sentences, ensure_ascii=False, separators=(",", ":")).encode(),
        raw=sentences,
        prepare=None,
        source=source,
        note=lambda: "not verified: the labels are the official ones, but some sentences are not",
    )


def read_tsv(info: DatasetInfo, path: Path, rows: int) -> tuple[list[str], list[int]]:
    """Sentences and labels of one of GLUE's files: a header, then a sentence, a tab and 0 or 1 per line.

    Raises:
        DataError: Lines are malformed, or their number is not `rows`.
    """
    try:
        header, *lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8, got {error}; {info.how_to_get}") from error
    if lines and lines[-1] == "":
        lines.pop()
    pairs = [line.split("\t") for line in lines]
    bad = [number for number, pair in enumerate(pairs, start=2) if len(pair) != 2 or pair[1] not in ("0", "1")]
    problems = [
        f"line {number}: expected a sentence, a tab and 0 or 1, got {lines[number - 2]!r}" for number in bad[:5]
    ]
    if len(bad) > 5:
        problems.append(f"{counted(len(bad) - 5, 'more such line')}")
    if header != "sentence\tlabel":
        problems.insert(0, f"line 1: expected the header 'sentence\\tlabel', got {header[:80]!r}")
    if len(lines) != rows:
        problems.append(f"expected {rows:,} rows after the header, got {len(lines):,}")
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise DataError(f"{path} (expected {rows:,} rows in {info.classes} classes): {info.how_to_get}{listed}")
    return [sentence for sentence, _ in pairs], [int(label) for _, label in pairs]
