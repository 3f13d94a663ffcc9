"""Unmodified clients against the loopback Hub, each in its own interpreter with its own caches."""

import io
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loopback_hub import LFS_SIZE, LoopbackHub, Request, Response, describe, run_client

CARD = b"""---
license: mit
configs:
- config_name: first
  data_files: [{split: train, path: first/train.parquet}, {split: dev, path: first/dev.parquet}]
- config_name: second
  data_files: [{split: train, path: second/*.parquet}]
---
# A set
"""
METRIC = b"""
import datasets
import evaluate
from .sibling import VERSION

class Metric(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("float64"), "references": datasets.Value("int8")})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        return {"hits": float(sum(p == r for p, r in zip(predictions, references))), "version": VERSION}
"""
BIG_TEXT = b"0123456789\n" * (LFS_SIZE // 11 + 1)


def parquet(values: list[int]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": values}), sink)
    return sink.getvalue()


@dataclass
class Site:
    """A served Hub and the revisions of its data set org/set."""

    hub: LoopbackHub
    files: Mapping[str, bytes]
    old: str
    new: str


@pytest.fixture
def site() -> Iterator[Site]:
    with LoopbackHub() as hub:
        files = {
            "README.md": CARD,
            "first/train.parquet": parquet([1, 2, 3]),
            "first/dev.parquet": parquet([4]),
            "second/a.parquet": parquet([5]),
            "second/b.parquet": parquet([6]),
            "notes/größe 1.txt": b"small",
            "notes/big.txt": BIG_TEXT,
        }
        old = hub.add("dataset", "org/set", files)
        hub.tag("dataset", "org/set", "v1/a")
        files = {**files, "first/dev.parquet": parquet([7, 8])}
        yield Site(hub, files, old, hub.add("dataset", "org/set", files))


def printed(done: "subprocess.CompletedProcess[str]") -> dict[str, object]:
    """What a client printed as JSON in its last line."""
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(answer, dict)
    return answer


def ask(hub: LoopbackHub, path: str, method: str = "GET", query: Mapping[str, list[str]] | None = None) -> Response:
    """An answer without a socket."""
    return hub.answer(Request(method, path, query or {}, {}))


def test_datasets_loads_configs_streams_and_follows_revisions(site: Site, tmp_path: Path) -> None:
    done = run_client(
        f"""
        import json
        from datasets import get_dataset_config_names, load_dataset

        def error(*args, **kwargs):
            try:
                load_dataset(*args, **kwargs)
            except Exception as error:
                return f"{{type(error).__name__}}: {{error}}"

        print(json.dumps({{
            "configs": get_dataset_config_names("org/set"),
            "splits": {{name: split["x"][:] for name, split in load_dataset("org/set", "first").items()}},
            "glob": load_dataset("org/set", "second", split="train")["x"][:],
            "streamed": [row["x"] for row in load_dataset("org/set", "first", split="dev", streaming=True)],
            "by tag": load_dataset("org/set", "first", split="dev", revision="v1/a")["x"][:],
            "by sha": load_dataset("org/set", "first", split="dev", revision="{site.old}")["x"][:],
            "streamed by tag": [
                row["x"] for row in load_dataset("org/set", "first", split="dev", revision="v1/a", streaming=True)
            ],
            "no revision": error("org/set", "first", revision="v9"),
            "no config": error("org/set", "third"),
            "no repository": error("org/none"),
            "no organisation": error("none"),
        }}))
        """,
        site.hub.environment(tmp_path),
        tmp_path,
    )
    answer = printed(done)
    assert answer["configs"] == ["first", "second"]
    assert answer["splits"] == {"train": [1, 2, 3], "dev": [7, 8]}
    assert answer["glob"] == [5, 6]
    assert answer["streamed"] == [7, 8]
    assert answer["by tag"] == answer["by sha"] == answer["streamed by tag"] == [4]
    assert (
        answer["no revision"] == "DatasetNotFoundError: Revision 'v9' doesn't exist for dataset 'org/set' on the Hub."
    )
    assert str(answer["no config"]).startswith("ValueError: BuilderConfig 'third' not found.")
    for name, repository in {"no repository": "org/none", "no organisation": "none"}.items():
        assert str(answer[name]).startswith(f"DatasetNotFoundError: Dataset '{repository}' doesn't exist on the Hub")


def test_huggingface_hub_lists_downloads_and_retries(site: Site, tmp_path: Path) -> None:
    site.hub.page_size = 2
    done = run_client(
        f"""
        import hashlib, json
        from pathlib import Path
        from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download

        api = HfApi()
        repository = {{"repo_id": "org/set", "repo_type": "dataset"}}
        info = api.dataset_info("org/set", files_metadata=True)
        refs = api.list_repo_refs(**repository)
        tree = list(api.list_repo_tree(**repository, path_in_repo="first", expand=True))
        found = api.get_paths_info(**repository, paths=["second", "README.md", "nothing"], expand=True)
        snapshot = Path(snapshot_download(**repository, revision="v1/a", ignore_patterns="notes/*"))
        files = HfFileSystem()
        names = ["README.md", "first/train.parquet", "notes/größe 1.txt", "notes/big.txt"]
        paths = [Path(hf_hub_download(**repository, filename=name)) for name in names]

        def error(**changed):
            try:
                hf_hub_download(**repository | {{"filename": "README.md"}} | changed)
            except Exception as error:
                return type(error).__name__

        print(json.dumps({{
            "info": [info.sha, info.card_data.license, info.private, info.gated, info.last_modified.isoformat()],
            "lfs": [s.rfilename for s in info.siblings if s.lfs],
            "refs": [[ref.name, ref.target_commit] for ref in refs.branches + refs.tags],
            "files": api.list_repo_files(**repository),
            "last commits": {{entry.path: entry.last_commit.oid for entry in tree}},
            "found": {{entry.path: [type(entry).__name__, entry.last_commit.oid] for entry in found}},
            "glob": files.glob("datasets/org/set@v1%2Fa/**/*.parquet"),
            "range": files.cat_file("datasets/org/set/notes/big.txt", start=9, end=12).decode(),
            "downloads": {{n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in zip(names, paths)}},
            "blobs": {{name: path.resolve().name for name, path in zip(names, paths)}},
            "snapshot": [snapshot.name, sorted(str(p.relative_to(snapshot)) for p in snapshot.rglob("*.parquet"))],
            "verified": len(api.verify_repo_checksums(**repository, revision="{site.old}").mismatches),
            "errors": [error(filename="x"), error(revision="x"), error(repo_id="org/x"), error(repo_type="model")],
        }}))
        """,
        site.hub.environment(tmp_path),
        tmp_path,
    )
    answer = printed(done)
    parquets = sorted(path for path in site.files if path.endswith(".parquet"))
    entries = site.hub.repositories["dataset", "org/set"].at("main").entries
    assert answer["info"] == [site.new, "mit", False, False, "2025-01-01T00:01:00+00:00"]
    assert answer["lfs"] == [*parquets[:2], "notes/big.txt", *parquets[2:]]
    assert answer["refs"] == [["main", site.new], ["v1/a", site.old]]
    assert answer["files"] == sorted(site.files)
    assert answer["last commits"] == {"first/dev.parquet": site.new, "first/train.parquet": site.old}
    assert answer["found"] == {"second": ["RepoFolder", site.old], "README.md": ["RepoFile", site.old]}
    assert answer["glob"] == [f"datasets/org/set@v1%2Fa/{path}" for path in parquets]
    assert answer["range"] == "9\n0"
    downloads = answer["downloads"]
    blobs = answer["blobs"]
    assert isinstance(downloads, dict)
    assert isinstance(blobs, dict)
    assert downloads == {name: sha256(site.files[name]).hexdigest() for name in downloads}
    assert blobs == {name: entries[name].get("lfs", entries[name])["oid"] for name in blobs}
    assert answer["snapshot"] == [site.old, parquets]
    assert answer["verified"] == 0
    assert answer["errors"] == [
        "RemoteEntryNotFoundError",
        "RevisionNotFoundError",
        "RepositoryNotFoundError",
        "RepositoryNotFoundError",
    ]


def test_private_and_gated_repositories_open_with_the_token_only(site: Site, tmp_path: Path) -> None:
    site.hub.add("dataset", "org/private", site.files, private=True)
    site.hub.add("dataset", "org/gated", site.files, gated=True)
    code = """
        import json
        from datasets import load_dataset
        from huggingface_hub import HfApi, hf_hub_download

        def outcome(call, *args, **kwargs):
            try:
                return call(*args, **kwargs)
            except Exception as error:
                return type(error).__name__

        repositories = ["org/private", "org/gated"]
        rows = lambda name: load_dataset(name, "first", split="dev")["x"][:]
        size = lambda name: len(open(hf_hub_download(name, "README.md", repo_type="dataset")).read())
        print(json.dumps({
            "load": [outcome(rows, name) for name in repositories],
            "download": [outcome(size, name) for name in repositories],
            "gated": [outcome(lambda: HfApi().dataset_info(name).gated) for name in repositories],
        }))
    """
    stranger = site.hub.environment(tmp_path / "stranger")
    member = site.hub.environment(tmp_path / "member") | {"HF_TOKEN": site.hub.token}
    assert printed(run_client(code, stranger, tmp_path)) == {
        "load": ["DatasetNotFoundError"] * 2,
        "download": ["RepositoryNotFoundError", "GatedRepoError"],
        "gated": ["RepositoryNotFoundError", "auto"],
    }
    assert printed(run_client(code, member, tmp_path)) == {
        "load": [[7, 8]] * 2,
        "download": [len(CARD)] * 2,
        "gated": [False, "auto"],
    }
    assert ask(site.hub, "/datasets/org/private/resolve/main/README.md").headers["X-Error-Code"] == "RepoNotFound"
    assert ask(site.hub, "/datasets/org/gated/resolve/main/README.md").status == 403


def test_what_was_downloaded_loads_offline_and_metrics_load_from_a_space(site: Site, tmp_path: Path) -> None:
    site.hub.add("space", "org/metric", {"metric.py": METRIC, "sibling.py": b"VERSION = 1"})
    environment = site.hub.environment(tmp_path)
    online = """
        import json
        import evaluate
        from datasets import load_dataset
        from huggingface_hub import snapshot_download

        rows = load_dataset("org/set", "first", split="dev")["x"][:]
        metric = evaluate.load("org/metric")
        folder = snapshot_download("org/set", repo_type="dataset")
        score = metric.compute(predictions=[1, 0], references=[1, 1])
        print(json.dumps({"rows": rows, "score": score, "at": folder}))
    """
    first = printed(run_client(online, environment, tmp_path))
    assert first["rows"] == [7, 8]
    assert first["score"] == {"hits": 1.0, "version": 1}

    site.hub.requests.clear()
    offline = """
        import json
        from datasets import load_dataset
        from huggingface_hub import snapshot_download

        folder = snapshot_download("org/set", repo_type="dataset")
        print(json.dumps({
            "at": folder,
            "cached": load_dataset("org/set", "first", split="dev")["x"][:],
            "folder": load_dataset(folder, "second", split="train")["x"][:],
        }))
    """
    second = printed(run_client(offline, environment | {"HF_HUB_OFFLINE": "1"}, tmp_path))
    assert second == {"at": first["at"], "cached": [7, 8], "folder": [5, 6]}
    assert site.hub.requests == []


def test_a_failure_is_retried_and_each_file_is_fetched_once(site: Site, tmp_path: Path) -> None:
    site.hub.fail_next(1)
    done = run_client(
        """
        import json
        from huggingface_hub import HfApi, hf_hub_download

        files = HfApi().list_repo_files("org/set", repo_type="dataset")
        for _ in range(2):
            hf_hub_download("org/set", "second/a.parquet", repo_type="dataset")
        print(json.dumps({"files": len(files)}))
        """,
        site.hub.environment(tmp_path),
        tmp_path,
    )
    assert printed(done) == {"files": len(site.files)}
    tree = ("GET", "/api/datasets/org/set/tree/main?recursive=true&expand=false")
    resolved = ("HEAD", "/datasets/org/set/resolve/main/second/a.parquet")
    stored = ("GET", f"/lfs/{sha256(site.files['second/a.parquet']).hexdigest()}/second/a.parquet")
    assert site.hub.requests == [tree, tree, resolved, stored, resolved]


def test_a_client_inherits_nothing_of_the_users_setup(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = {"HF_TOKEN": "secret", "HUGGING_FACE_HUB_TOKEN": "secret", "MICO_HUB_DATA": "x", "all_proxy": "http://x"}
    for name, value in mine.items():
        monkeypatch.setenv(name, value)
    environment = site.hub.environment(Path("tmp"))
    assert not mine.keys() & environment.keys()
    assert environment["HF_ENDPOINT"] == site.hub.url


def test_a_commit_is_a_snapshot_with_a_reproducible_sha(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_bytes(b"a")
    shas = []
    for files in ({"sub/a.txt": b"a"}, tmp_path):
        with LoopbackHub() as hub:
            first = hub.add("model", "org/model", files)
            second = hub.add("model", "org/model", {"b.txt": b"b"})
            assert [*hub.repositories["model", "org/model"].at("main").files] == ["b.txt"]
            assert ask(hub, f"/org/model/resolve/{first}/sub/a.txt").body == b"a"
            shas.append((first, second))
    assert shas[0] == shas[1]
    assert len(set(shas[0])) == 2


def test_git_would_give_the_same_blob_ids() -> None:
    assert describe("a.txt", b"hello\n")["oid"] == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object
    assert "lfs" not in describe("a.txt", b"0" * LFS_SIZE)
    pointer = describe("a.bin", b"")["lfs"]
    assert pointer["oid"] == sha256(b"").hexdigest()


@pytest.mark.parametrize("asked", ["bytes=0-0", "bytes=2-4", "bytes=8-99", "bytes=3-", "bytes=-4", "bytes=-99"])
def test_a_range_is_a_slice(asked: str) -> None:
    body = b"0123456789"
    first, last = asked.removeprefix("bytes=").split("-")
    wanted = body[int(first) : int(last) + 1 if last else None] if first else body[-int(last) :]
    part = Response(body).cut(asked)
    assert (part.status, part.body) == (206, wanted)
    start = body.index(wanted)
    assert part.headers["Content-Range"] == f"bytes {start}-{start + len(wanted) - 1}/10"


@pytest.mark.parametrize(
    ("asked", "status"), [("bytes=10-", 416), ("bytes=-0", 416), ("bytes=-", 200), ("lines=1-2", 200)]
)
def test_a_range_without_bytes_is_refused_and_an_unknown_one_ignored(asked: str, status: int) -> None:
    assert Response(b"0123456789").cut(asked).status == status


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/datasets/org/set/tree/main/nothing", 404, "EntryNotFound"),
        ("/api/datasets/org/set/tree/main/README.md", 404, "EntryNotFound"),
        ("/api/datasets/org/set/revision/v1%2Fa", 200, None),
        ("/api/datasets/org/set/revision/v1/a", 404, None),
        ("/datasets/org/set/resolve/main/first", 404, "EntryNotFound"),
        ("/datasets/org/set/resolve/main/größe", 404, "EntryNotFound"),
        ("/datasets/org/set/resolve/v2/README.md", 404, "RevisionNotFound"),
        ("/api/models/org/set", 404, "RepoNotFound"),
        ("/api/datasets/set/revision/main", 404, "RepoNotFound"),
        ("/elsewhere", 404, None),
        (f"/lfs/{'0' * 64}/x", 404, None),
    ],
)
def test_errors_name_what_is_missing(site: Site, path: str, status: int, code: str | None) -> None:
    response = ask(site.hub, path)
    assert (response.status, response.headers.get("X-Error-Code")) == (status, code)
    assert all(value.isascii() for value in response.headers.values())


@pytest.mark.parametrize("recursive", [False, True])
def test_a_tree_lists_the_same_in_any_pages(site: Site, recursive: bool) -> None:
    path, query = "/api/datasets/org/set/tree/main", {"recursive": [str(recursive)]}
    whole = json.loads(ask(site.hub, path, query=query).body)
    top = {name.partition("/")[0] for name in site.files}
    assert {entry["path"] for entry in whole} == (top | set(site.files) if recursive else top)
    for site.hub.page_size in (1, 3, len(whole)):
        pages, cursor = [], 0
        while cursor < len(whole):
            page = ask(site.hub, path, query={**query, "cursor": [str(cursor)]})
            pages += json.loads(page.body)
            cursor += site.hub.page_size
            assert ("Link" in page.headers) == (cursor < len(whole))
        assert pages == whole
