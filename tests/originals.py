"""The competition's files for tests: its sample archives, and stand-ins of the right form for what is too large.

`golden/` holds two of the samples, made with the competition's own code; MICO_HUB_SAMPLES names a folder with all four.
"""

import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from mico_hub.models import build
from mico_hub.sources.original.release import RELEASES
from mico_hub.splits import original_split
from mico_hub.suites import SUITES

GOLDEN = Path(__file__).parent / "golden"
SAMPLES = os.environ.get("MICO_HUB_SAMPLES")

PURCHASE, SST2 = GOLDEN / "purchase100.zip", GOLDEN / "sst2_lo.tar.gz"
IDS = {"train": [0, 1], "dev": [100], "final": [150]}


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def named(path: Path) -> str:
    """An archive that is none of the competition's, as a source."""
    return f"{path}@{md5(path)}"


def members(path: Path) -> dict[str, bytes]:
    """The files in an archive, by name."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    with tarfile.open(path) as archive:
        files = {info.name: archive.extractfile(info) for info in archive if info.isfile()}
        return {name: file.read() for name, file in files.items() if file is not None}


def on_the_hub(files: Mapping[str, bytes], track: str) -> dict[str, bytes]:
    """The same files under the paths of the track's repository."""
    return {RELEASES[track].folder + name.split("/", 1)[1]: content for name, content in files.items()}


def extract(files: Mapping[str, bytes], folder: Path) -> Path:
    """The same files in a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def pickled(network: str, prefix: str = "_module.") -> bytes:
    """The weights of a network as the competition's scripts saved them."""
    state = {prefix + key: tensor for key, tensor in build(network).state_dict().items()}
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()


def made(suite_name: str, ids: Mapping[str, list[int]] | None = None) -> dict[str, bytes]:
    """A suite of the competition as its archive has it, with seeds counted up and the same random weights for all."""
    suite = SUITES[suite_name]
    num_records = {"cifar10": 60_000, "purchase100": 197_324, "sst2": 68_221}[suite.dataset]
    weights = pickled(suite.model)
    files = {}
    for split, models in (ids or IDS).items():
        for i in models:
            folder = f"{suite.track}/{suite_name}/{split}/model_{i}"
            seeds = {"seed_challenge": 10 * i, "seed_training": 10 * i + 1, "seed_membership": 10 * i + 2}
            revealed = split == "train"
            files[f"{folder}/model.pt"] = weights
            for name, seed in seeds.items():
                if name == "seed_challenge" or revealed or (name, suite.track) == ("seed_training", "ddp"):
                    files[f"{folder}/{name}"] = b"%d\n" % seed
            if revealed:
                labels = original_split(num_records, suite.n, suite.m, **seeds).membership
                assert labels is not None
                files[f"{folder}/solution.csv"] = ",".join(map(str, labels)).encode() + b"\r\n"
    return files


def zipped(files: Mapping[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(files: Mapping[str, bytes], path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path
