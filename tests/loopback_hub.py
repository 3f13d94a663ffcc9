"""A Hugging Face Hub on 127.0.0.1 to read from and write to, for unmodified huggingface_hub, datasets, evaluate.

    with LoopbackHub() as hub:
        sha = hub.add("dataset", "org/set", {"README.md": b"# A set", "train.parquet": parquet})
        hub.tag("dataset", "org/set", "v1")
        done = run_client("import datasets; print(datasets.load_dataset('org/set'))", hub.environment(tmp), tmp)

        hub.fail("PUT /lfs/", times=2)  # the client tries again
        code = "import huggingface_hub as h; h.upload_folder(repo_id='org/set', repo_type='dataset', folder_path='x')"
        run_client(code, hub.environment(tmp) | {"HF_TOKEN": hub.token}, tmp)
        assert "x.parquet" in hub.files("dataset", "org/set")

By hand, for a rehearsal: `python tests/loopback_hub.py` prints what to set, and serves until it is interrupted.

Clients read HF_ENDPOINT and the cache folders when they are imported, so they run in a subprocess. They upload by
git LFS, not by Xet. An endpoint is one function under `@route`, from a Request to a Response.
"""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, Self, TypeVar
from urllib.parse import parse_qs, quote, unquote, urlencode

import fresh
import yaml

Kind = Literal["dataset", "space", "model"]
Match = re.Match[str]
KINDS: dict[str | None, Kind] = {"datasets": "dataset", "spaces": "space", "models": "model", None: "model"}
LFS_SUFFIXES = (".safetensors", ".parquet", ".bin", ".pt")
LFS_SIZE = 1 << 20  # bytes; a larger file is LFS whatever its name
FIRST_COMMIT = datetime(2025, 1, 1, tzinfo=UTC)  # not the clock: the same calls give the same answers
USER = "maintainer"
FOLDERS: dict[Kind, str] = {"dataset": "datasets/", "space": "spaces/", "model": ""}  # of a page's address
BAD_TOKEN = "Invalid credentials in Authorization header"  # clients compare this text
ATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES).encode()
T = TypeVar("T")


class HubError(Exception):
    """An error as the Hub words it: clients choose their exception by `code`, the header X-Error-Code."""

    def __init__(self, status: int, code: str | None, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        # A header cannot hold every name that a path can.
        self.headers = {"X-Error-Message": ascii(message)[1:-1]} | headers
        if code:
            self.headers["X-Error-Code"] = code


def is_lfs(path: str, size: int) -> bool:
    """Whether a file of so many bytes is for git LFS."""
    return path.endswith(LFS_SUFFIXES) or size > LFS_SIZE


def blob(path: str, data: bytes) -> dict[str, Any]:
    """A file in git as clients are told of it: the keys of a tree listing, and the synonyms that `siblings` has."""
    oid = hashlib.sha1(b"blob %d\0%b" % (len(data), data)).hexdigest()
    return {"type": "file", "path": path, "rfilename": path, "size": len(data), "oid": oid, "blobId": oid}


def pointer(path: str, sha256: str, size: int) -> dict[str, Any]:
    """An LFS file as clients are told of it; git holds this pointer in place of the content."""
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    lfs = {"oid": sha256, "sha256": sha256, "size": size, "pointerSize": len(text)}
    return blob(path, text) | {"size": size, "lfs": lfs}


def describe(path: str, data: bytes) -> dict[str, Any]:
    """A file as clients are told of it, in git or in LFS."""
    if is_lfs(path, len(data)):
        return pointer(path, hashlib.sha256(data).hexdigest(), len(data))
    return blob(path, data)


def metadata(card: bytes) -> Any:
    """The YAML at the head of a card, None without one, or a YAMLError."""
    match = re.match(rb"---\n(.*?)\n---", card, re.DOTALL)
    return yaml.safe_load(match[1]) if match else None


@dataclass(frozen=True)
class Commit:
    """One revision: a whole snapshot, not a difference. `sha` has 40 hex digits; the mappings are by path."""

    sha: str
    files: Mapping[str, bytes]
    entries: Mapping[str, dict[str, Any]]
    date: str
    title: str
    message: str = ""

    @cached_property
    def folders(self) -> Mapping[str, Mapping[str, str]]:
        """Blob ids of the files below each folder; the root is the empty path."""
        folders: dict[str, dict[str, str]] = {"": {}}
        for path, entry in self.entries.items():
            for end in (0, *(slash.start() for slash in re.finditer("/", path))):
                folders.setdefault(path[:end], {})[path] = entry["oid"]
        return folders

    def under(self, path: str) -> Mapping[str, str]:
        """Blob ids of the file `path`, or of the files below the folder `path`; of every file for the empty path."""
        return {path: self.entries[path]["oid"]} if path in self.entries else self.folders.get(path, {})


@dataclass
class Repository:
    """A repository with its history, oldest commit first; `refs` has the branch main and the tags."""

    kind: Kind
    id: str
    private: bool = False
    gated: Literal["auto", "manual", False] = False
    sdk: str | None = None  # of a Space
    revisions: list[Commit] = field(default_factory=list)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Mapping[str, bytes], title: str = "Upload") -> Commit:
        """Put a snapshot on top of main; a file that is what it was is not hashed again, nor held twice."""
        last = self.revisions[-1] if self.revisions else Commit("", {}, {}, "", "")
        same = {path for path, data in files.items() if last.files.get(path) == data}
        return self.record(
            {path: last.files[path] if path in same else data for path, data in files.items()},
            {path: last.entries[path] if path in same else describe(path, data) for path, data in files.items()},
            title,
        )

    def record(
        self, files: Mapping[str, bytes], entries: Mapping[str, dict[str, Any]], title: str, message: str = ""
    ) -> Commit:
        """Put a described snapshot on top of main; the sha depends on the repository, its history and the content."""
        entries = {path: entries[path] for path in sorted(entries)}
        blobs = {path: entry["oid"] for path, entry in entries.items()}
        sha = hashlib.sha1(json.dumps([self.kind, self.id, self.refs.get("main"), blobs]).encode()).hexdigest()
        date = f"{FIRST_COMMIT + timedelta(minutes=len(self.revisions)):%Y-%m-%dT%H:%M:%S.000Z}"
        self.revisions.append(Commit(sha, files, entries, date, title, message))
        self.refs["main"] = sha
        return self.revisions[-1]

    def at(self, revision: str) -> Commit:
        """The commit of a branch, a tag or a full sha, or RevisionNotFound."""
        sha = self.refs.get(revision, revision)
        for commit in self.revisions:
            if commit.sha == sha:
                return commit
        raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")

    def past(self, commit: Commit) -> list[Commit]:
        """A commit and those before it, the latest first."""
        return self.revisions[self.revisions.index(commit) :: -1]

    def last_change(self, path: str, commit: Commit) -> Commit:
        """The latest commit, up to `commit`, that changed a file or anything below a folder."""
        return list(takewhile(lambda old: old.under(path) == commit.under(path), self.past(commit)))[-1]

    def listing(self, paths: Iterable[str], commit: Commit, expand: bool) -> list[dict[str, Any]]:
        """Files and folders as in a tree listing; `expand` adds to each the last commit that changed it."""
        entries = []
        for path in paths:
            if path in commit.entries:
                entry = commit.entries[path]
            else:
                oid = hashlib.sha1(repr(commit.under(path)).encode()).hexdigest()
                entry = {"type": "directory", "path": path, "oid": oid, "size": 0}
            if expand:
                last = self.last_change(path, commit)
                entry = entry | {"lastCommit": {"id": last.sha, "title": last.title, "date": last.date}}
            entries.append(entry)
        return entries


@dataclass(frozen=True)
class Request:
    """A request: an encoded path, the query with the fields of a form, headers by lower-case name.

    `query_string` is the query as it came, without the fields of a form.
    """

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes = b""
    query_string: str = ""

    def json(self) -> Any:
        """A JSON body."""
        return json.loads(self.body)

    def flag(self, name: str) -> bool:
        """Whether a yes-or-no parameter is set."""
        return self.query.get(name, [""])[0].lower() in ("1", "true")


@dataclass(frozen=True)
class Response:
    """A whole answer: Content-Length, and the cut for a request with Range, are added by the server.

    The status 0 is no answer: the connection is dropped.
    """

    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200

    @classmethod
    def of(cls, value: object, headers: Mapping[str, str] | None = None, status: int = 200) -> Self:
        """A JSON answer; what JSON has no type for (a date in a card) becomes text."""
        return cls(
            json.dumps(value, default=str).encode(), {"Content-Type": "application/json"} | {**(headers or {})}, status
        )

    def cut(self, asked: str) -> "Response":
        """The part that a header Range asks for (a single range: no client here asks for more)."""
        size, match = len(self.body), re.fullmatch(r"bytes=(\d*)-(\d*)", asked)
        if not match or asked == "bytes=-":
            return self
        start = int(match[1]) if match[1] else max(size - int(match[2]), 0)
        stop = min(int(match[2]) + 1, size) if match[1] and match[2] else size
        if start >= stop:
            return Response(headers={"Content-Range": f"bytes */{size}"}, status=416)
        return Response(
            self.body[start:stop], {**self.headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"}, 206
        )


Endpoint = Callable[["LoopbackHub", Request, Match], Response]
ROUTES: list[tuple[str, re.Pattern[str], Endpoint]] = []
ID = r"(?P<id>[^/]+(?:/[^/]+)?)"  # a bare name too: load_dataset("mico") asks for it, and has to hear RepoNotFound
API = rf"/api/(?P<kinds>datasets|spaces|models)/{ID}"
PAGE = rf"/(?:(?P<kinds>datasets|spaces)/)?{ID}"
OBJECTS = rf"{PAGE}\.git/info/lfs/objects"


def route(methods: str, pattern: str) -> Callable[[Endpoint], Endpoint]:
    """Register an endpoint for methods ("GET" or "GET|HEAD") and a path, which is matched while percent-encoded."""

    def register(endpoint: Endpoint) -> Endpoint:
        ROUTES.extend((method, re.compile(pattern), endpoint) for method in methods.split("|"))
        return endpoint

    return register


def paged(hub: "LoopbackHub", request: Request, items: list[T]) -> tuple[list[T], dict[str, str]]:
    """One page of a listing, and the header Link that joins the next."""
    start = int(request.query.get("cursor", ["0"])[0])
    stop = start + hub.page_size
    if stop >= len(items):
        return items[start:], {}
    query = urlencode({**request.query, "cursor": [str(stop)]}, doseq=True)
    return items[start:stop], {"Link": f'<{hub.url}{request.path}?{query}>; rel="next"'}


@route("GET", rf"{API}(?:/revision/(?P<rev>[^/]+))?")
def info(hub: "LoopbackHub", request: Request, match: Match) -> Response:
    """Metadata of a repository at a revision."""
    repository, commit = hub.find(request, match)
    return Response.of(
        {
            "id": repository.id,
            "author": repository.id.partition("/")[0],
            "sha": commit.sha,
            "private": repository.private,
            "gated": repository.gated,
            "disabled": False,
            "createdAt": repository.revisions[0].date,
            "lastModified": commit.date,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "cardData": metadata(commit.files.get("README.md", b"")),
            "siblings": list(commit.entries.values()),
        }
        | ({"sdk": repository.sdk} if repository.kind == "space" else {})
    )


@route("GET", rf"{API}/tree/(?P<rev>[^/]+)(?:/(?P<path>.*))?")
def tree(hub: "LoopbackHub", request: Request, match: Match) -> Response:
    """The files and folders below a folder, in pages that the header Link joins."""
    repository, commit = hub.find(request, match)
    folder = unquote(match["path"] or "").strip("/")
    if folder and folder not in commit.folders:
        raise HubError(404, "EntryNotFound", f"{folder} is no folder of {repository.id} at {commit.sha}")
    root = f"{folder}/" if folder else ""
    paths = [path for path in (*commit.entries, *commit.folders) if path.startswith(root) and path]
    if not request.flag("recursive"):
        paths = [path for path in paths if "/" not in path[len(root) :]]
    page, headers = paged(hub, request, sorted(paths))
    return Response.of(repository.listing(page, commit, request.flag("expand")), headers)


@route("POST", rf"{API}/paths-info/(?P<rev>[^/]+)")
def paths_info(hub: "LoopbackHub", request: Request, match: Match) -> Response:
    """The named files and folders; a name that does not exist is left out."""
    repository, commit = hub.find(request, match)
    paths = [path.strip("/") for path in request.query.get("paths", [])]
    found = [path for path in paths if path and commit.under(path)]
    return Response.of(repository.listing(found, commit, request.flag("expand")))


@route("GET", rf"{API}/refs")
def refs(hub: "LoopbackHub", request: Request, match: Match) -> Response:
    """The branch main and the tags."""
    repository, _ = hub.find(request, match)
    tags = [name for name in repository.refs if name != "main"]
    named = {"branches": ("heads", ["main"]), "tags": ("tags", tags), "converts": ("", []), "pullRequests": ("", [])}
    return Response.of(
        {
            group: [
                {"name": name, "ref": f"refs/{folder}/{name}", "targetCommit": repository.refs[name]} for name in names
            ]
            for group, (folder, names) in named.items()
        }
    )


@route("GET|HEAD", rf"{PAGE}/resolve/(?P<rev>[^/]+)/(?P<path>.+)")
def resolve(hub: "LoopbackHub", request: Request, match: Match) -> Response:
    """A file's content; that of an LFS file is a redirect away."""
    repository, commit = hub.find(request, match)
    if repository.gated and not hub.authorized(request):
        raise HubError(403, "GatedRepo", f"Access to {repository.id} is restricted: ask for access on its page")
    path, headers = unquote(match["path"]), {"X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes"}
    if path not in commit.files:
        raise HubError(404, "EntryNotFound", f"{path} is not in {repository.id} at {commit.sha}", **headers)
    data, entry = commit.files[path], commit.entries[path]
    if "lfs" not in entry:
        return Response(data, headers | {"ETag": f'"{entry["oid"]}"'})
    sha256 = entry["lfs"]["oid"]
    hub.storage.setdefault(sha256, data)
    location = f"{hub.storage_url}/{sha256}/{quote(path)}"
    headers |= {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(data)), "Location": location}
    return Response(headers=headers, status=302)


@route("GET|HEAD", r"/lfs/(?P<sha256>[0-9a-f]{64})/.*")
def stored(hub: "LoopbackHub", _: Request, match: Match) -> Response:
    """LFS content, without a token: as at the Hub, who has the address has the permission."""
    if match["sha256"] not in hub.storage:
        return Response(status=404)
    return Response(hub.storage[match["sha256"]], {"ETag": f'"{match["sha256"]}"', "Accept-Ranges": "bytes"})


@route("GET", rf"{API}/commits/(?P<rev>[^/]+)")
def commits(hub: "LoopbackHub", request: Request, match: Match) -> Response:
    """The history of a revision, latest commit first, in pages."""
    repository, commit = hub.find(request, match)
    page, headers = paged(hub, request, repository.past(commit))
    return Response.of(
        [
            {"id": old.sha, "title": old.title, "message": old.message, "date": old.date, "authors": [{"user": USER}]}
            for old in page
        ],
        headers,
    )


@route("GET", r"/api/datasets/(?P<id>[^/]+/[^/]+)/leaderboard")
def leaderboard(hub: "LoopbackHub", _: Request, match: Match) -> Response:
    """The results in all model repositories of the tasks that a dataset's eval.yaml names, the best first."""
    wanted = hub.repositories.get(("dataset", match["id"]))
    asks = wanted is not None and wanted.at("main").files.get("eval.yaml")
    if not asks:
        raise HubError(404, None, f"{match['id']} has no leaderboard")
    tasks = {task["id"] for task in yaml.safe_load(asks)["tasks"]}
    found = [
        (result, repo_id, path)
        for (kind, repo_id), repository in hub.repositories.items()
        if kind == "model"
        for path, content in repository.at("main").files.items()
        if path.startswith(".eval_results/")
        for result in yaml.safe_load(content)
        if result["dataset"]["id"] == match["id"] and result["dataset"]["task_id"] in tasks
    ]
    found.sort(key=lambda each: -each[0]["value"])
    return Response.of(
        [
            {
                "rank": rank, "modelId": repo_id, "value": result["value"], "filename": path, "verified": False,
                "source": result.get("source"), "notes": result.get("notes"),
                "author": {"type": "user", "name": repo_id.partition("/")[0], "fullname": "", "avatarUrl": ""},
            }
            for rank, (result, repo_id, path) in enumerate(found, start=1)
        ]
    )  # fmt: skip


@route("GET", "/api/whoami-v2")
def whoami(hub: "LoopbackHub", request: Request, _: Match) -> Response:
    """The user that the token stands for."""
    hub.authenticate(request)
    role = "read" if hub.read_only else "write"
    return Response.of(
        {
            "type": "user",
            "id": "0" * 24,
            "name": USER,
            "fullname": USER.title(),
            "orgs": [{"type": "org", "name": name, "fullname": name, "roleInOrg": role} for name in hub.organizations],
            "auth": {"type": "access_token", "accessToken": {"displayName": "loopback", "role": role}},
        }
    )


def is_private(asked: Mapping[str, Any], now: bool) -> bool:
    """Whether a repository is to be private: `visibility` says so, and for older clients `private`."""
    return asked["visibility"] == "private" if "visibility" in asked else bool(asked.get("private", now))


@route("POST", "/api/repos/create")
def create(hub: "LoopbackHub", request: Request, _: Match) -> Response:
    """A new repository, with the files that the Hub puts there first."""
    asked = request.json()
    kind: Kind = asked.get("type", "model")
    repo_id = f"{asked.get('organization') or USER}/{asked['name']}"
    hub.permit(request, repo_id)
    files = {".gitattributes": ATTRIBUTES}
    if kind == "space":
        if "sdk" not in asked:
            raise HubError(400, None, "A Space needs an sdk")
        files["README.md"] = f"---\ntitle: {asked['name']}\nsdk: {asked['sdk']}\npinned: false\n---\n".encode()
    answer = {"url": hub.page(kind, repo_id), "name": repo_id}
    with hub.lock:
        if (kind, repo_id) in hub.repositories:
            return Response.of({"error": f"You already created this {kind} repo", **answer}, status=409)
        repository = Repository(kind, repo_id, is_private(asked, False), sdk=asked.get("sdk"))
        repository.commit(files, "initial commit")
        hub.repositories[kind, repo_id] = repository
    return Response.of(answer)


@route("PUT", rf"{API}/settings")
def settings(hub: "LoopbackHub", request: Request, match: Match) -> Response:
    """Who may see a repository, and who its files."""
    repository, _ = hub.find_to_write(request, match)
    asked = request.json()
    repository.private = is_private(asked, repository.private)
    repository.gated = asked.get("gated", repository.gated)
    return Response.of({"private": repository.private, "gated": repository.gated})


@route("POST", "/api/repos/move")
def move(hub: "LoopbackHub", request: Request, _: Match) -> Response:
    """Another name for a repository."""
    asked = request.json()
    hub.permit(request, asked["toRepo"])
    hub.rename(asked["type"], asked["fromRepo"], asked["toRepo"])
    return Response.of({"url": hub.page(asked["type"], asked["toRepo"])})


@route("POST", "/api/validate-yaml")
def validate_yaml(_: "LoopbackHub", request: Request, __: Match) -> Response:
    """Whether a card can be parsed."""
    try:
        metadata(request.json()["content"].encode())
    except yaml.YAMLError as error:
        return Response.of({"errors": [{"message": str(error)}], "warnings": []}, status=400)
    return Response.of({"errors": [], "warnings": []})


@route("POST", rf"{API}/tag/(?P<rev>[^/]+)")
def create_tag(hub: "LoopbackHub", request: Request, match: Match) -> Response:
    """A name for a revision; a name that is taken stays where it is."""
    repository, commit = hub.find_to_write(request, match)
    name = request.json()["tag"]
    with hub.lock:
        if name in repository.refs:
            raise HubError(409, None, f"Tag {name} already exists")
        repository.refs[name] = commit.sha
    return Response.of({"tag": name})


@route("DELETE", rf"{API}/tag/(?P<tag>[^/]+)")
def delete_tag(hub: "LoopbackHub", request: Request, match: Match) -> Response:
    """A revision without its name."""
    repository, _ = hub.find_to_write(request, match)
    name = unquote(match["tag"])
    with hub.lock:
        if name == "main" or repository.refs.pop(name, None) is None:
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {name}")
    return Response.of({})


@route("POST", rf"{API}/preupload/(?P<rev>[^/]+)")
def preupload(hub: "LoopbackHub", request: Request, match: Match) -> Response:
    """Which files are for LFS, and what is there under their names: a client leaves out what would not change."""
    _, commit = hub.find_to_write(request, match)
    files = []
    for asked in request.json()["files"]:
        mode = "lfs" if is_lfs(asked["path"], asked["size"]) else "regular"
        files.append({"path": asked["path"], "uploadMode": mode, "shouldIgnore": False})
        if entry := commit.entries.get(asked["path"]):
            files[-1]["oid"] = entry.get("lfs", entry)["oid"]
    return Response.of({"files": files, "commitOid": commit.sha})


@route("POST", rf"{OBJECTS}/batch")
def batch(hub: "LoopbackHub", request: Request, match: Match) -> Response:
    """Where to put LFS objects; nothing is to be done for one that is here already."""
    repository, _ = hub.find_to_write(request, match)
    objects = [
        {"oid": asked["oid"], "size": asked["size"], "authenticated": True} for asked in request.json()["objects"]
    ]
    for each in objects:
        if each["oid"] not in hub.storage:
            upload = f"{hub.storage_url}/{each['oid']}?signature={hub.signature(each['oid'])}"
            verify = f"{hub.page(repository.kind, repository.id)}.git/info/lfs/objects/verify"
            each["actions"] = {"upload": {"href": upload}, "verify": {"href": verify}}
    return Response.of({"transfer": "basic", "objects": objects})


@route("PUT", r"/lfs/(?P<sha256>[0-9a-f]{64})")
def store(hub: "LoopbackHub", request: Request, match: Match) -> Response:
    """An LFS object, for whoever has the address that `batch` told."""
    sha256 = match["sha256"]
    if request.query.get("signature") != [hub.signature(sha256)]:
        raise HubError(403, None, "The request signature does not match")
    if (actual := hashlib.sha256(request.body).hexdigest()) != sha256:
        raise HubError(422, None, f"The content of {sha256} has the SHA-256 {actual}")
    hub.storage.setdefault(sha256, request.body)
    return Response()


@route("POST", rf"{OBJECTS}/verify")
def verify(hub: "LoopbackHub", request: Request, match: Match) -> Response:
    """Whether an LFS object has arrived whole."""
    hub.find_to_write(request, match)
    asked = request.json()
    if len(hub.storage.get(asked["oid"], b"")) != asked["size"]:
        raise HubError(404, None, f"No object {asked['oid']} of {asked['size']} bytes")
    return Response.of({})


@route("POST", rf"{API}/commit/(?P<rev>[^/]+)")
def commit_changes(hub: "LoopbackHub", request: Request, match: Match) -> Response:
    """A commit, of all its changes or of none; one that changes nothing answers with the commit before it."""
    repository, _ = hub.find_to_write(request, match)
    if match["rev"] != "main":
        raise HubError(404, "RevisionNotFound", f"{match['rev']} is no branch")
    header, *changes = map(json.loads, request.body.splitlines())
    about = header["value"]
    with hub.lock:
        commit = repository.at("main")
        if about.get("parentCommit", commit.sha) != commit.sha:
            raise HubError(412, None, "A commit has happened since. Please refresh and try again.")
        files, entries = {**commit.files}, {**commit.entries}
        for change in changes:
            CHANGES[change["key"]](hub, change["value"], files, entries)
        if entries != commit.entries:
            commit = repository.record(files, entries, about["summary"], about.get("description", ""))
    url = f"{hub.page(repository.kind, repository.id)}/commit/{commit.sha}"
    return Response.of({"success": True, "commitOid": commit.sha, "commitUrl": url, "hookOutput": ""})


Change = Callable[["LoopbackHub", Mapping[str, Any], dict[str, bytes], dict[str, dict[str, Any]]], None]


def put_file(_: "LoopbackHub", asked: Mapping[str, Any], files: dict[str, bytes], entries: dict[str, Any]) -> None:
    """Content within the commit stays in git, whatever its name: an empty file comes this way even as x.bin."""
    path, data = asked["path"], base64.b64decode(asked["content"])
    files[path], entries[path] = data, blob(path, data)


def put_object(hub: "LoopbackHub", asked: Mapping[str, Any], files: dict[str, bytes], entries: dict[str, Any]) -> None:
    """A name for an LFS object, which must have arrived."""
    path, sha256 = asked["path"], asked["oid"]
    if sha256 not in hub.storage:
        raise HubError(400, None, f"LFS pointer pointed to a file that does not exist: {path}, {sha256}")
    files[path] = hub.storage[sha256]
    entries[path] = pointer(path, sha256, len(files[path]))


def delete_file(_: "LoopbackHub", asked: Mapping[str, Any], files: dict[str, bytes], entries: dict[str, Any]) -> None:
    """One file less."""
    path = asked["path"]
    if path not in files:
        raise HubError(404, "EntryNotFound", f"A file with this name doesn't exist: {path}")
    del files[path], entries[path]


def delete_folder(_: "LoopbackHub", asked: Mapping[str, Any], files: dict[str, bytes], entries: dict[str, Any]) -> None:
    """All files below a folder less."""
    inside = [path for path in files if path.startswith(f"{asked['path'].rstrip('/')}/")]
    if not inside:
        raise HubError(404, "EntryNotFound", f"A folder with this name doesn't exist: {asked['path']}")
    for path in inside:
        del files[path], entries[path]


CHANGES: dict[str, Change] = {
    "file": put_file,
    "lfsFile": put_object,
    "deletedFile": delete_file,
    "deletedFolder": delete_folder,
}


@dataclass
class _Failure:
    """What `LoopbackHub.fail` was asked for, and how often it is still to happen."""

    pattern: re.Pattern[str]
    times: int
    status: int
    after: bool


class LoopbackHub:
    """The server, to read from and to write to, from the `with` on; what it holds may change while it serves.

    Attributes:
        url: The endpoint, "http://127.0.0.1:port".
        token: The only accepted token. Without it a private repository does not exist (404 RepoNotFound), and a gated
            one shows, as at the Hub, everything but the content of its files (403 GatedRepo). A request that writes
            is refused without it (401); it stands for the user "maintainer".
        read_only: Whether the token may only read: a request that writes is refused (403).
        organizations: Where the user may create repositories, beside "maintainer/..." (elsewhere 403).
        repositories: By kind and id, with their history.
        storage: LFS content by SHA-256: a commit can name what is here.
        storage_url: Where LFS content is: to clients another host, as at the Hub.
        requests: (method, path with query) of every request so far. An LFS file is one for `/.../resolve/REV/PATH` and
            one for `/lfs/SHA256/PATH`, and if it is uploaded a PUT of `/lfs/SHA256`; a request meant for another host
            starts with "http".
        page_size: Entries in one page of a tree listing or of a history.
        first_fails: Whether the first request for each path is answered with an error.
        delay: Seconds before each answer, as a network would take.
        bytes_sent: Bodies of all answers so far.
    """

    def __init__(self) -> None:
        self.token = "hf_loopback"
        self.read_only = False
        self.organizations = ["org"]
        self.requests: list[tuple[str, str]] = []
        self.page_size = 1000
        self.first_fails = False
        self.delay = 0.0
        self.bytes_sent = 0
        self._failed: set[str] = set()
        self.repositories: dict[tuple[Kind, str], Repository] = {}
        self.storage: dict[str, bytes] = {}
        self.lock = threading.RLock()  # between a look at the repositories and a change that depends on it
        self._moved: dict[tuple[Kind, str], str] = {}
        self._failures: list[int] = []
        self._planned: list[_Failure] = []
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        # A client follows a redirect within one host already at HEAD, and would never see the headers of an LFS file.
        self.storage_url = f"http://localhost:{self._server.server_port}/lfs"

    def __enter__(self) -> Self:
        # Each test waits for one poll at its end: the default is 0.5 s.
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(
        self, kind: Kind, repo_id: str, files: Mapping[str, bytes] | Path, *, private: bool = False, gated: bool = False
    ) -> str:
        """Commit a whole snapshot to main, in a new repository if need be; a file that is not given is gone.

        Args:
            kind: Kind of the repository.
            repo_id: "org/name".
            files: Contents by path, or a folder.
            private: Hide it; False leaves an existing repository as it is.
            gated: Ask for access; False leaves an existing repository as it is.

        Returns:
            The commit's sha.
        """
        if isinstance(files, Path):
            files = {str(path.relative_to(files)): path.read_bytes() for path in files.rglob("*") if path.is_file()}
        with self.lock:
            repository = self.repositories.setdefault((kind, repo_id), Repository(kind, repo_id))
            repository.private |= private
            repository.gated = repository.gated or ("auto" if gated else False)
            commit = repository.commit(files)
        for path, entry in commit.entries.items():
            if "lfs" in entry:
                self.storage.setdefault(entry["lfs"]["oid"], commit.files[path])
        return commit.sha

    def tag(self, kind: Kind, repo_id: str, name: str, revision: str = "main") -> None:
        """Name a revision, or move the name."""
        repository = self.repositories[kind, repo_id]
        repository.refs[name] = repository.at(revision).sha

    def rename(self, kind: Kind, old: str, new: str) -> None:
        """Give a repository another name; under the old one every request is redirected until another one has it."""
        with self.lock:
            if (kind, old) not in self.repositories:
                raise HubError(404, "RepoNotFound", "Repository not found")
            if (kind, new) in self.repositories:
                raise HubError(409, None, f"There is a {kind} {new} already")
            repository = self.repositories.pop((kind, old))
            repository.id = new
            self.repositories[kind, new] = repository
            self._moved[kind, old] = new

    def files(self, kind: Kind, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """What a repository holds at a revision: content by path."""
        return {**self.repositories[kind, repo_id].at(revision).files}

    def page(self, kind: Kind, repo_id: str) -> str:
        """The address of a repository."""
        return f"{self.url}/{FOLDERS[kind]}{repo_id}"

    def fail_next(self, n: int, status: int = 503) -> None:
        """Answer the next n requests, whatever they are, with an error."""
        self._failures += [status] * n

    def fail(self, pattern: str, times: int, status: int = 503, *, after: bool = False) -> None:
        """Answer some requests with an error.

        Args:
            pattern: A regular expression that is found in "METHOD /path", without the query and percent-encoded.
            times: The next so many requests that match.
            status: The error; 0 drops the connection without an answer.
            after: Do what is asked all the same: only the answer is lost.
        """
        with self.lock:
            self._planned.append(_Failure(re.compile(pattern), times, status, after))

    def authorized(self, request: Request) -> bool:
        """Whether a request carries the token."""
        return request.headers.get("authorization") == f"Bearer {self.token}"

    def authenticate(self, request: Request) -> None:
        """Refuse a request without the token."""
        if self.authorized(request):
            return
        if "authorization" in request.headers:
            raise HubError(401, None, BAD_TOKEN)
        # Clients take this for a repository that is not there; of a Hub without https they have to be told.
        code = "RepoNotFound" if re.match("/api/(datasets|spaces|models)/", request.path) else None
        raise HubError(401, code, "Invalid username or password.")

    def permit(self, request: Request, repo_id: str | None = None) -> None:
        """Refuse to write, or to write into the namespace of a new repository, for who may not."""
        self.authenticate(request)
        if self.read_only:
            raise HubError(403, None, "you must use a write token to upload to a repository")
        namespace = repo_id.partition("/")[0] if repo_id else USER
        if namespace not in (USER, *self.organizations):
            raise HubError(403, None, f"You don't have the rights to create a repository under {namespace}")

    def signature(self, sha256: str) -> str:
        """What shows that the address of an LFS object was told by this Hub."""
        return hashlib.sha256(f"{self.token} {sha256}".encode()).hexdigest()

    def find(self, request: Request, match: Match) -> tuple[Repository, Commit]:
        """The repository and the commit that a path names, or RepoNotFound or RevisionNotFound."""
        named = match.groupdict()
        repository = self.repositories.get((KINDS[named["kinds"]], named["id"]))
        if not repository or (repository.private and not self.authorized(request)):
            raise HubError(404, "RepoNotFound", "Repository not found")
        return repository, repository.at(unquote(named.get("rev") or "main"))

    def find_to_write(self, request: Request, match: Match) -> tuple[Repository, Commit]:
        """As `find`, for a request that writes: refused for who may not."""
        found = self.find(request, match)
        self.permit(request)
        return found

    def answer(self, request: Request) -> Response:
        """Answer a request: the server without its socket."""
        with suppress(IndexError):  # not a look first: two threads could see the same last failure
            return Response(status=self._failures.pop(0))
        if self.first_fails and request.path not in self._failed:
            self._failed.add(request.path)
            return Response(status=503)
        failure = self._failure(request)
        if failure and not failure.after:
            return Response(status=failure.status)
        response = self._serve(request)
        return Response(status=failure.status) if failure else response

    def _failure(self, request: Request) -> _Failure | None:
        with self.lock:
            for failure in self._planned:
                if failure.times and failure.pattern.search(f"{request.method} {request.path}"):
                    failure.times -= 1
                    return failure
        return None

    def _redirect(self, request: Request, match: Match) -> Response | None:
        named = match.groupdict()
        key = (KINDS[named.get("kinds")], named.get("id", ""))
        if key in self.repositories or key not in self._moved:
            return None
        start, stop = match.span("id")
        path = f"{request.path[:start]}{self._moved[key]}{request.path[stop:]}"
        return Response(headers={"Location": f"{path}?{request.query_string}".rstrip("?")}, status=307)

    def _serve(self, request: Request) -> Response:
        try:
            for method, pattern, endpoint in ROUTES:
                if method == request.method and (match := pattern.fullmatch(request.path)):
                    return self._redirect(request, match) or endpoint(self, request, match)
        except HubError as error:
            return Response.of({"error": str(error)}, error.headers, error.status)
        return Response.of({"error": f"no {request.method} {request.path} here"}, status=404)

    def environment(self, tmp: Path) -> dict[str, str]:
        """Variables for a client: this endpoint, fresh caches under `tmp`, no token, nothing of the user's own setup.

        Add `"HF_TOKEN": hub.token` for a client that is logged in, `"HF_HUB_OFFLINE": "1"` for one without network.
        """
        alien = re.compile(r"HF_|HUGGING_?FACE|MICO_HUB_|\w+_PROXY$", re.IGNORECASE)
        # What a client sends elsewhere (to datasets-server.127.0.0.1, say) ends here: no test needs a network.
        proxies = {"HTTP_PROXY": self.url, "HTTPS_PROXY": self.url, "NO_PROXY": "127.0.0.1,localhost"}
        caches = {
            f"HF_{name.upper()}_CACHE": str(tmp / "hf" / name) for name in ("hub", "datasets", "modules", "evaluate")
        }
        switches = (
            "HUB_DISABLE_XET",
            "HUB_DISABLE_TELEMETRY",
            "HUB_DISABLE_PROGRESS_BARS",
            "DATASETS_DISABLE_PROGRESS_BARS",
        )
        return {
            **{name: value for name, value in os.environ.items() if not alien.match(name)},
            **proxies,
            **{name.lower(): value for name, value in proxies.items()},
            **caches,
            **{f"HF_{name}": "1" for name in switches},
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(tmp / "hf"),
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        }


def run_client(code: str, environment: Mapping[str, str], cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run Python code (indented as it stands in a test) in a fresh interpreter, with `cwd` first on its path."""
    return fresh.run("-c", textwrap.dedent(code), cwd=cwd, env=environment)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # the default of 5 refuses a client with many threads

    def __init__(self, hub: LoopbackHub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"  # one connection for many requests
    disable_nagle_algorithm = True  # headers and body are two writes: with Nagle an answer takes 40 ms

    def _body(self) -> bytes:
        """The body, whole or a ConnectionError: half a commit is none."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            chunks = []
            while size := int(self._line(), 16):
                chunks.append(self._read(size))
                self._line()
            self._line()
            return b"".join(chunks)
        return self._read(int(self.headers.get("Content-Length", 0)))

    def _line(self) -> bytes:
        return self.rfile.readline() or self._read(1)

    def _read(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionError(f"expected {size} bytes, got {len(data)}")
        return data

    def _answer(self) -> None:
        path, _, query = self.path.partition("?")
        body = self._body()
        fields = parse_qs(query)
        if self.headers.get_content_type() == "application/x-www-form-urlencoded":
            fields |= parse_qs(body.decode())
        self.server.hub.requests.append((self.command, self.path))
        headers = {name.lower(): value for name, value in self.headers.items()}
        time.sleep(self.server.hub.delay)
        response = self.server.hub.answer(Request(self.command, path, fields, headers, body, query))
        if response.status == 0:
            self.close_connection = True
            return
        if response.status == 200 and (asked := headers.get("range")):
            response = response.cut(asked)
        self.send_response(response.status)
        for name, value in {**response.headers, "Content-Length": str(len(response.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.server.hub.bytes_sent += len(response.body)
            self.wfile.write(response.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 (the base class looks for these names)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class names it)
        """Keep the tests' output for the tests."""


def main() -> None:
    """Serves, and says how to reach it."""
    with LoopbackHub() as hub:
        sys.stdout.write(f"export HF_ENDPOINT={hub.url} HF_TOKEN={hub.token} HF_HUB_DISABLE_XET=1\n")
        sys.stdout.write(
            f"# a Hub with the organisation {', '.join(hub.organizations)}, gone once this is interrupted\n"
        )
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
