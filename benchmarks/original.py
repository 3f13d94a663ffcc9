"""What it takes to use the competition's own models: from nothing to a scored model, and the splits of all tracks.

MICO_HUB_DATA=DATA python benchmarks/original.py [--delay 0.05]

A full cifar10_hi (200 models of the real size, random weights) is served by a Hub on the loopback interface, which
answers every request after --delay seconds, as one over a network would. Bytes are those of the answers' bodies. Lines
that begin with "by arithmetic" are computed from sizes, not measured: nobody downloads 256 GB for a benchmark.
"""

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))  # the Hub on the loopback interface is there

from loopback_hub import LoopbackHub, run_client
from originals import made, on_the_hub

from mico_hub.data import DATASETS
from mico_hub.models import MODELS
from mico_hub.sources.original.release import RELEASES
from mico_hub.splits import original_split
from mico_hub.suites import tracks

ARCHIVE_BYTES = {"cifar10": 2.1e9, "sst2": 256e9}
"""Of a track's archives, as the competition gave them."""
BANDWIDTH = 100e6 / 8
"""Bytes a second, for what is computed."""

USER = """
    import json, resource, time
    started = time.perf_counter()
    import datasets, evaluate, mico_hub
    imported = time.perf_counter()
    row = datasets.load_dataset("mico", "cifar10_hi", split="train")[0]
    rows = time.perf_counter()
    model = mico_hub.load_model(row)
    loaded = time.perf_counter()
    inputs, labels, _ = mico_hub.load_challenge(row)
    (predictions,) = mico_hub.attack("loss", [row])
    scores = evaluate.load("mico_score").compute(predictions=[predictions], references=[row["membership"]])
    done = time.perf_counter()
    times = {"import": imported - started, "rows": rows - imported, "one model": loaded - rows,
             "data, attack, score": done - loaded, "in all": done - started}
    print(json.dumps({"times": times, "TPR": scores["TPR_FPR_1000"],
                      "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def first_scored_model(delay: float) -> None:
    """A fresh process with empty caches, then the same again, with full ones and without network."""
    ids = {"train": list(range(100)), "dev": list(range(100, 150)), "final": list(range(150, 200))}
    files = on_the_hub(made("cifar10_hi", ids), "cifar10")
    with LoopbackHub() as hub, tempfile.TemporaryDirectory() as folder:
        hub.add("dataset", RELEASES["cifar10"].repository, files)
        hub.delay = delay
        environment = hub.environment(Path(folder)) | {
            "MICO_HUB_CACHE": f"{folder}/cache",
            "MICO_HUB_DATA": str(Path(os.environ["MICO_HUB_DATA"]).resolve()),
        }
        for title, more in (("from nothing", {}), ("again, offline", {"HF_HUB_OFFLINE": "1"})):
            hub.requests.clear()
            hub.bytes_sent = 0
            done = run_client(USER, environment | more, Path(folder))
            if done.returncode:
                raise SystemExit(done.stderr)
            seen = json.loads(done.stdout.splitlines()[-1])
            times = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in seen["times"].items())
            print(
                f"{title}: {times}; {len(hub.requests):,} requests, {hub.bytes_sent / 1e6:,.1f} MB, "
                f"peak {seen['peak'] / 1e6:,.0f} MB of memory"
            )
            if not more:
                lazily = hub.bytes_sent
    checkpoint = max(map(len, files.values()))
    print(f"  of these bytes {checkpoint / 1e6:.1f} MB are the checkpoint, the rest listing and small files")
    archive = ARCHIVE_BYTES["cifar10"]
    print(
        f"by arithmetic: the archive of the track, {archive / 1e9:.1f} GB, takes {archive / BANDWIDTH:,.0f} s at "
        f"100 Mbit/s, {archive / lazily:,.0f} times the bytes; those above {lazily / BANDWIDTH:.1f} s"
    )
    of_model = sum(tensor.numel() for tensor in MODELS["roberta"].build(**MODELS["roberta"].configuration).parameters())
    text = 4 * of_model + (lazily - checkpoint)
    archive = ARCHIVE_BYTES["sst2"]
    print(
        f"by arithmetic: SST-2, {archive / 1e9:.0f} GB in archives, {archive / BANDWIDTH / 3600:.1f} h at 100 Mbit/s; "
        f"one model of {4 * of_model / 1e6:.0f} MB and the small files {text / BANDWIDTH:.0f} s"
    )


def splits_of_all_tracks() -> None:
    """200 models of each of the competition's base datasets, all three seeds each."""
    for track, suites in tracks().items():
        if track not in ("cifar10", "purchase100", "sst2"):
            continue
        suite, size = suites[0], DATASETS[suites[0].dataset].num_records
        times = []
        for seed in range(200):
            started = time.perf_counter()
            original_split(size, suite.n, suite.m, seed, seed + 1, seed + 2)
            times.append(time.perf_counter() - started)
        print(
            f"splits of 200 models of {track}, N = {size:,}: {sum(times):.2f} s, {1e3 * sum(times) / 200:.1f} ms each, "
            f"at most {1e3 * max(times):.1f} ms"
        )


def main() -> int:
    """Prints all measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds before each answer (default: %(default)s)")
    options = parser.parse_args()
    if "MICO_HUB_DATA" not in os.environ:
        parser.error("MICO_HUB_DATA must name a folder with CIFAR-10, or the time would be that of its download")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; delay {options.delay} s")
    splits_of_all_tracks()
    print(f"  peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6:,.0f} MB of memory")
    first_scored_model(options.delay)
    return 0


if __name__ == "__main__":
    sys.exit(main())
