"""Unmodified clients against the loopback Hub, each in its own interpreter with its own caches."""

import base64
import io
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loopback_hub import ATTRIBUTES, LFS_SIZE, LoopbackHub, Request, Response, describe, run_client

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


def write(hub: LoopbackHub, path: str, body: bytes = b"{}", method: str = "POST", token: str | None = None) -> Response:
    """An answer without a socket, to whoever has the token."""
    bare, _, query = path.partition("?")
    fields = {name: [value] for name, _, value in (pair.partition("=") for pair in query.split("&"))}
    return hub.answer(Request(method, bare, fields, {"authorization": f"Bearer {token or hub.token}"}, body, query))


def changes(*lines: tuple[str, Mapping[str, object]], **header: str) -> bytes:
    """The body of a commit."""
    head = ("header", {"summary": "Change", "description": ""} | header)
    return b"".join(json.dumps({"key": key, "value": value}).encode() + b"\n" for key, value in (head, *lines))


def small(path: str, data: bytes) -> tuple[str, Mapping[str, object]]:
    """The line of a commit that brings a file."""
    return "file", {"path": path, "content": base64.b64encode(data).decode(), "encoding": "base64"}


def objects(*contents: bytes) -> bytes:
    """The body that asks where to put LFS objects."""
    named = [{"oid": sha256(data).hexdigest(), "size": len(data)} for data in contents]
    return json.dumps({"operation": "upload", "transfers": ["basic"], "objects": named}).encode()


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


def test_uploads_are_commits_and_an_upload_of_the_same_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "logs").mkdir(parents=True)
    files = {"README.md": CARD, "a.parquet": parquet([1]), "big.txt": BIG_TEXT, "logs/1.txt": b"1", "empty.bin": b""}
    for path, data in files.items():
        (folder / path).write_bytes(data)
    with LoopbackHub() as hub:
        hub.page_size = 2
        done = run_client(
            """
            import io, json
            from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download

            api = HfApi()
            repo = {"repo_id": "org/new", "repo_type": "dataset"}

            def error(call, *args, **kwargs):
                try:
                    return call(*args, **kwargs)
                except Exception as error:
                    status = getattr(getattr(error, "response", None), "status_code", None)
                    return [type(error).__name__, status]

            def commit(*operations, **kwargs):
                return api.create_commit(operations=operations, commit_message="Change", **repo, **kwargs).oid

            answer = {"user": [api.whoami()["name"], api.whoami()["orgs"][0]["name"]]}
            answer["url"] = str(api.create_repo(**repo, private=True))
            answer["again"] = [error(api.create_repo, **repo), str(api.create_repo(**repo, exist_ok=True))]
            answer["elsewhere"] = error(api.create_repo, "other/new")
            first, second = (api.upload_folder(folder_path="folder", **repo) for _ in range(2))
            answer["first"] = [first.oid, second.oid, first.repo_url.repo_id]
            api.create_tag(tag="v1/a", **repo)
            answer["tags"] = [
                error(api.create_tag, tag="v1/a", **repo),
                error(api.create_tag, tag="v2", revision="x", **repo),
            ]

            added = [CommitOperationAdd("a.parquet", b"new"), CommitOperationAdd("b/c.pt", io.BytesIO(b"b"))]
            api.preupload_lfs_files(additions=added, free_memory=False, **repo)
            gone = [CommitOperationDelete("big.txt"), CommitOperationDelete("logs/")]
            answer["second"] = commit(*added, *gone, parent_commit=first.oid)
            paths = [hf_hub_download(filename="a.parquet", revision=name, **repo) for name in ("v1/a", "main")]
            answer["sizes"] = [len(open(path, "rb").read()) for path in paths]
            answer["errors"] = {
                "parent": error(commit, CommitOperationAdd("x", b"x"), parent_commit=first.oid),
                "file": error(commit, CommitOperationAdd("x", b"x"), CommitOperationDelete("logs/1.txt")),
                "folder": error(commit, CommitOperationDelete("logs/")),
                "card": error(commit, CommitOperationAdd("README.md", b"---\\na: [\\n---\\n")),
            }
            api.update_repo_settings(private=False, gated="manual", **repo)
            info = api.dataset_info("org/new")
            answer["info"] = [info.private, info.gated, info.sha]
            answer["history"] = [[c.commit_id, c.title] for c in api.list_repo_commits(**repo)]
            api.delete_tag(tag="v1/a", **repo)
            answer["untagged"] = error(api.delete_tag, tag="v1/a", **repo)
            print(json.dumps(answer))
            """,
            hub.environment(tmp_path) | {"HF_TOKEN": hub.token},
            tmp_path,
        )
        answer = printed(done)
        first, new = hub.repositories["dataset", "org/new"].revisions[1:]
        assert answer == {
            "user": ["maintainer", "org"],
            "url": f"{hub.url}/datasets/org/new",
            "again": [["HfHubHTTPError", 409], f"{hub.url}/datasets/org/new"],
            "elsewhere": ["HfHubHTTPError", 403],
            "first": [first.sha, first.sha, "org/new"],
            "tags": [["HfHubHTTPError", 409], ["RevisionNotFoundError", 404]],
            "second": new.sha,
            "sizes": [len(files["a.parquet"]), len(b"new")],
            "errors": {
                "parent": ["HfHubHTTPError", 412],
                "file": ["RemoteEntryNotFoundError", 404],
                "folder": ["RemoteEntryNotFoundError", 404],
                "card": ["ValueError", None],
            },
            "info": [False, "manual", new.sha],
            "history": [
                [new.sha, "Change"],
                [first.sha, "Upload folder using huggingface_hub"],
                [hub.repositories["dataset", "org/new"].revisions[0].sha, "initial commit"],
            ],
            "untagged": ["RevisionNotFoundError", 404],
        }
        assert hub.files("dataset", "org/new", first.sha) == {".gitattributes": ATTRIBUTES, **files}
        kept = {path: files[path] for path in ("README.md", "empty.bin")}
        assert hub.files("dataset", "org/new") == {
            ".gitattributes": ATTRIBUTES,
            **kept,
            "a.parquet": b"new",
            "b/c.pt": b"b",
        }
        assert first.files["a.parquet"] is hub.storage[sha256(files["a.parquet"]).hexdigest()]
        assert sum(method == "PUT" and "/lfs/" in path for method, path in hub.requests) == 4  # each object once


def test_what_was_uploaded_loads_also_by_an_old_name(tmp_path: Path) -> None:
    (tmp_path / "metric").mkdir()
    (tmp_path / "metric" / "metric.py").write_bytes(METRIC)
    (tmp_path / "metric" / "sibling.py").write_bytes(b"VERSION = 1")
    (tmp_path / "set" / "first").mkdir(parents=True)
    (tmp_path / "set" / "README.md").write_bytes(CARD)
    for split in ("train", "dev"):
        (tmp_path / "set" / "first" / f"{split}.parquet").write_bytes(parquet([7, 8]))
    with LoopbackHub() as hub:
        done = run_client(
            """
            import json
            import evaluate
            from datasets import load_dataset
            from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download

            api = HfApi()
            repo = {"repo_id": "org/set", "repo_type": "dataset"}
            api.create_repo(**repo)
            api.upload_folder(folder_path="set", **repo)
            api.create_repo("org/metric", repo_type="space", space_sdk="static")
            api.upload_folder(folder_path="metric", repo_id="org/metric", repo_type="space")
            for kind, name in [("dataset", "set"), ("space", "metric")]:
                api.move_repo(f"org/{name}", f"org/new_{name}", repo_type=kind)

            commit = api.create_commit(operations=[CommitOperationAdd("x.bin", b"x")], commit_message="Add", **repo)
            api.create_tag(tag="v1", **repo)
            metric = evaluate.load("org/metric")
            print(json.dumps({
                "names": [api.dataset_info("org/set").id, api.space_info("org/metric").sdk, commit.repo_url.repo_id],
                "file": open(hf_hub_download(filename="x.bin", **repo)).read(),
                "rows": [load_dataset(name, "first", split="dev")["x"][:] for name in ("org/set", "org/new_set")],
                "streamed": [row["x"] for row in load_dataset("org/set", "first", split="dev", streaming=True)],
                "score": metric.compute(predictions=[1, 0], references=[1, 1]),
            }))
            """,
            hub.environment(tmp_path) | {"HF_TOKEN": hub.token},
            tmp_path,
        )
        assert printed(done) == {
            "names": ["org/new_set", "static", "org/new_set"],
            "file": "x",
            "rows": [[7, 8]] * 2,
            "streamed": [7, 8],
            "score": {"hits": 1.0, "version": 1},
        }
        moved = ask(hub, "/datasets/org/set/resolve/v1/x.bin")
        assert (moved.status, moved.headers["Location"]) == (307, "/datasets/org/new_set/resolve/v1/x.bin")
        hub.add("dataset", "org/set", {"x.bin": b"another"})
        assert ask(hub, "/datasets/org/set/resolve/main/x.bin").status == 302
        renamed = json.dumps({"fromRepo": "org/new_set", "toRepo": "org/set", "type": "dataset"}).encode()
        assert write(hub, "/api/repos/move", renamed).status == 409
        assert write(hub, "/api/repos/move", renamed.replace(b"org/new_set", b"org/none")).status == 404


def test_a_failed_upload_is_retried_and_a_lost_commit_is_there(site: Site, tmp_path: Path) -> None:
    site.hub.fail("PUT /lfs/", times=1)
    site.hub.fail("/preupload/", times=1, status=0)
    site.hub.fail("/commit/main", times=1, status=0, after=True)
    done = run_client(
        """
        import json
        from huggingface_hub import CommitOperationAdd, HfApi

        def commit():
            operations = [CommitOperationAdd("x.bin", b"x"), CommitOperationAdd("y", b"y")]
            return HfApi().create_commit("org/set", operations, commit_message="m", repo_type="dataset").oid

        try:
            commit()
        except Exception as error:
            print(json.dumps({"lost": type(error).__name__, "again": commit()}))
        """,
        site.hub.environment(tmp_path) | {"HF_TOKEN": site.hub.token},
        tmp_path,
    )
    head = site.hub.repositories["dataset", "org/set"].at("main")
    assert printed(done) == {"lost": "RemoteProtocolError", "again": head.sha}
    assert len(site.hub.repositories["dataset", "org/set"].revisions) == 3
    assert site.hub.files("dataset", "org/set") == {**site.files, "x.bin": b"x", "y": b"y"}
    asked = [(method, path.split("/")[-2]) for method, path in site.hub.requests]
    assert [asked.count(what) for what in [("POST", "preupload"), ("PUT", "lfs"), ("POST", "commit")]] == [3, 2, 1]


def test_strangers_write_nothing(site: Site, tmp_path: Path) -> None:
    site.hub.add("dataset", "org/private", site.files, private=True)
    before = {key: list(repository.revisions) for key, repository in site.hub.repositories.items()}
    code = """
        import json
        from huggingface_hub import CommitOperationAdd, HfApi

        def error(call, *args, **kwargs):
            try:
                call(*args, **kwargs)
            except Exception as error:
                return f"{type(error).__name__} {error.response.status_code}"

        def commit(api, repo):
            operations = [CommitOperationAdd("x", b"x")]
            return error(api.create_commit, repo, operations, commit_message="m", repo_type="dataset")

        answer = {}
        for name, token in [("wrong", "hf_wrong"), ("none", False)]:
            api = HfApi(token=token)
            answer[name] = [
                error(api.create_repo, "org/new"),
                commit(api, "org/set"),
                commit(api, "org/private"),
                error(api.create_tag, "org/set", tag="x", repo_type="dataset"),
            ]
        answer["wrong"].append(error(HfApi(token="hf_wrong").whoami))
        print(json.dumps(answer))
    """
    nobody, missing = "HfHubHTTPError 401", "RepositoryNotFoundError 404"
    assert printed(run_client(code, site.hub.environment(tmp_path), tmp_path)) == {
        "wrong": [nobody, nobody, missing, nobody, nobody],
        "none": [nobody, "RepositoryNotFoundError 401", missing, "RepositoryNotFoundError 401"],
    }
    site.hub.read_only = True
    for name, refused in {"set": 401, "private": 404}.items():
        writes = [
            ("PUT", f"/api/datasets/org/{name}/settings"),
            ("POST", f"/api/datasets/org/{name}/tag/main"),
            ("DELETE", f"/api/datasets/org/{name}/tag/v1%2Fa"),
            ("POST", f"/api/datasets/org/{name}/preupload/main"),
            ("POST", f"/api/datasets/org/{name}/commit/main"),
            ("POST", f"/datasets/org/{name}.git/info/lfs/objects/batch"),
            ("POST", f"/datasets/org/{name}.git/info/lfs/objects/verify"),
        ]
        assert {write(site.hub, path, method=method, token="x").status for method, path in writes} == {refused}
        assert {write(site.hub, path, method=method).status for method, path in writes} == {403}
    body = json.dumps({"name": "x", "fromRepo": "org/set", "toRepo": "org/x", "type": "dataset"}).encode()
    for path in ("/api/repos/create", "/api/repos/move"):
        assert write(site.hub, path, body, token="x").status == 401
        assert write(site.hub, path, body).status == 403
    assert {key: repository.revisions for key, repository in site.hub.repositories.items()} == before


def test_an_object_counts_once_it_has_arrived_whole(site: Site) -> None:
    data = os.urandom(1000)
    name = sha256(data).hexdigest()
    lines = small("y", b"y"), ("lfsFile", {"path": "x.bin", "algo": "sha256", "oid": name, "size": len(data)})
    assert write(site.hub, "/api/datasets/org/set/commit/main", changes(*lines)).status == 400
    here = site.files["first/train.parquet"]
    answer = json.loads(write(site.hub, "/datasets/org/set.git/info/lfs/objects/batch", objects(data, here)).body)
    assert "actions" not in answer["objects"][1]
    actions = answer["objects"][0]["actions"]
    address, verify = urlsplit(actions["upload"]["href"]), urlsplit(actions["verify"]["href"])
    assert ask(site.hub, address.path, "PUT").status == 403
    arrived = json.dumps({"oid": name, "size": len(data)}).encode()
    for sent in (data[:-1], data + b"x"):
        assert write(site.hub, f"{address.path}?{address.query}", sent, "PUT").status == 422
        assert write(site.hub, verify.path, arrived).status == 404
    connection = HTTPConnection("127.0.0.1", address.port)
    connection.request("PUT", f"{address.path}?{address.query}", iter([data[:400], data[400:]]), encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()
    assert write(site.hub, verify.path, arrived).status == 200
    assert site.hub.files("dataset", "org/set") == site.files
    assert write(site.hub, "/api/datasets/org/set/commit/main", changes(*lines)).status == 200
    assert site.hub.files("dataset", "org/set") == {**site.files, "y": b"y", "x.bin": data}


def test_half_a_commit_is_none(site: Site) -> None:
    body = changes(small("x", b"x"), small("y", b"y"))
    head = f"POST /api/datasets/org/set/commit/main HTTP/1.1\r\nAuthorization: Bearer {site.hub.token}\r\n"
    half = body[: body.rindex(b"\n", 0, -1) + 1]
    for length, start in [
        (f"Content-Length: {len(body)}", half),
        ("Transfer-Encoding: chunked", f"{len(half):x}\r\n".encode() + half + b"\r\n"),
    ]:
        with socket.create_connection(("127.0.0.1", int(site.hub.url.rpartition(":")[2])), timeout=10) as client:
            client.sendall(f"{head}{length}\r\n\r\n".encode() + start)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
    assert site.hub.repositories["dataset", "org/set"].at("main").sha == site.new


def test_commits_at_once_lose_nothing(site: Site) -> None:
    def commit(i: int) -> int:
        return write(site.hub, "/api/datasets/org/set/commit/main", changes(small(f"{i}", b"x"))).status

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(commit, range(200))) == {200}
    assert site.hub.files("dataset", "org/set").keys() == {*site.files, *map(str, range(200))}
    assert len({revision.sha for revision in site.hub.repositories["dataset", "org/set"].revisions}) == 202
    body = changes(small("last", b""), parentCommit=site.hub.repositories["dataset", "org/set"].refs["main"])
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda _: write(site.hub, "/api/datasets/org/set/commit/main", body).status, range(16))
    assert sorted(answers) == [200] + [412] * 15


def test_a_commit_onto_thousands_of_files_hashes_its_own_alone() -> None:
    took = []
    contents = [bytes([i % 256, i // 256]) for i in range(5000)]
    with LoopbackHub() as hub:
        hub.add("model", "org/model", {f"{i % 50}/{i}.bin": data for i, data in enumerate(contents)})
        for run in range(3):
            lines = [
                ("lfsFile", {"path": f"{run}/new/{i}.bin", "oid": sha256(contents[i]).hexdigest(), "size": 2})
                for i in range(200)
            ]
            start = time.perf_counter()
            assert write(hub, "/api/models/org/model/commit/main", changes(*lines)).status == 200
            took.append(time.perf_counter() - start)
        assert len(hub.files("model", "org/model")) == 5600
        first, *_, last = hub.repositories["model", "org/model"].revisions
        hub.add("model", "org/model", {path: bytes([*data]) for path, data in last.files.items()})
        again = hub.repositories["model", "org/model"].at("main")
    assert min(took) < 0.1  # seconds
    assert all(entry is last.entries[path] for path, entry in first.entries.items())
    assert all(entry is last.entries[path] for path, entry in again.entries.items())
    assert all(data is last.files[path] for path, data in again.files.items())


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


def test_folders_hold_what_is_below_them() -> None:
    paths = ["a", "b/a", "b/c/a", "b/c/d/e", "bc/a", "b c/ü"]
    with LoopbackHub() as hub:
        hub.add("model", "org/model", {path: path.encode() for path in paths})
        commit = hub.repositories["model", "org/model"].at("main")
    for path in [*paths, "", "b", "b/c", "b/c/d", "b c", "c", "b/"]:
        below = {each for each in paths if not path or f"{each}/".startswith(f"{path}/")}
        assert commit.under(path).keys() == below


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
