"""A read-only Hugging Face Hub on 127.0.0.1, for unmodified clients: huggingface_hub, datasets, evaluate.

    with LoopbackHub() as hub:
        sha = hub.add("dataset", "org/set", {"README.md": b"# A set", "train.parquet": parquet})
        hub.tag("dataset", "org/set", "v1")
        done = run_client("import datasets; print(datasets.load_dataset('org/set'))", hub.environment(tmp), tmp)

Clients read HF_ENDPOINT and the cache folders when they are imported, so they run in a subprocess.
An endpoint is one function under `@route`, from a Request to a Response: write endpoints are more of them.
"""

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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self
from urllib.parse import parse_qs, quote, unquote, urlencode

import yaml

Kind = Literal["dataset", "space", "model"]
Match = re.Match[str]
KINDS: dict[str | None, Kind] = {"datasets": "dataset", "spaces": "space", "models": "model", None: "model"}
LFS_SUFFIXES = (".safetensors", ".parquet", ".bin", ".pt")
LFS_SIZE = 1 << 20  # bytes; a larger file is LFS whatever its name
FIRST_COMMIT = datetime(2025, 1, 1, tzinfo=UTC)  # not the clock: the same calls give the same answers


class HubError(Exception):
    """An error as the Hub words it: clients choose their exception by `code`, the header X-Error-Code."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        # A header cannot hold every name that a path can.
        self.headers = {"X-Error-Code": code, "X-Error-Message": ascii(message)[1:-1]} | headers


def describe(path: str, data: bytes) -> dict[str, Any]:
    """A file as clients are told of it: the keys of a tree listing, and the synonyms that `siblings` has for them."""
    entry = {"type": "file", "path": path, "rfilename": path, "size": len(data)}
    if path.endswith(LFS_SUFFIXES) or len(data) > LFS_SIZE:
        sha256 = hashlib.sha256(data).hexdigest()
        # Git holds this pointer in place of the content.
        data = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(data)}\n".encode()
        entry["lfs"] = {"oid": sha256, "sha256": sha256, "size": entry["size"], "pointerSize": len(data)}
    blob_id = hashlib.sha1(b"blob %d\0%b" % (len(data), data)).hexdigest()
    return entry | {"oid": blob_id, "blobId": blob_id}


@dataclass(frozen=True)
class Commit:
    """One revision: a whole snapshot, not a difference. `sha` has 40 hex digits; the mappings are by path."""

    sha: str
    files: Mapping[str, bytes]
    entries: Mapping[str, dict[str, Any]]
    date: str
    title: str

    def under(self, path: str) -> dict[str, str]:
        """Blob ids of the file `path`, or of the files below the folder `path`; of every file for the empty path."""
        inside = (name for name in self.entries if not path or f"{name}/".startswith(f"{path}/"))
        return {name: self.entries[name]["oid"] for name in inside}


@dataclass
class Repository:
    """A repository with its history, oldest commit first; `refs` has the branch main and the tags."""

    kind: Kind
    id: str
    private: bool = False
    gated: bool = False
    revisions: list[Commit] = field(default_factory=list)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Mapping[str, bytes], title: str = "Upload") -> Commit:
        """Put a snapshot on top of main; the sha depends on the repository, its history and the content."""
        entries = {path: describe(path, files[path]) for path in sorted(files)}
        sha = hashlib.sha1(json.dumps([self.kind, self.id, self.refs.get("main"), entries]).encode()).hexdigest()
        date = f"{FIRST_COMMIT + timedelta(minutes=len(self.revisions)):%Y-%m-%dT%H:%M:%S.000Z}"
        self.revisions.append(Commit(sha, dict(files), entries, date, title))
        self.refs["main"] = sha
        return self.revisions[-1]

    def at(self, revision: str) -> Commit:
        """The commit of a branch, a tag or a full sha, or RevisionNotFound."""
        sha = self.refs.get(revision, revision)
        for commit in self.revisions:
            if commit.sha == sha:
                return commit
        raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")

    def last_change(self, path: str, commit: Commit) -> Commit:
        """The latest commit, up to `commit`, that changed a file or anything below a folder."""
        past = self.revisions[: self.revisions.index(commit) + 1]
        return list(takewhile(lambda old: old.under(path) == commit.under(path), reversed(past)))[-1]

    def listing(self, paths: Iterable[str], commit: Commit, expand: bool) -> list[dict[str, Any]]:
        """Files and folders as in a tree listing; `expand` adds to each the last commit that changed it."""
        entries = []
        for path in paths:
            oid = hashlib.sha1(repr(commit.under(path)).encode()).hexdigest()
            entry = commit.entries.get(path, {"type": "directory", "path": path, "oid": oid, "size": 0})
            if expand:
                last = self.last_change(path, commit)
                entry = entry | {"lastCommit": {"id": last.sha, "title": last.title, "date": last.date}}
            entries.append(entry)
        return entries


@dataclass(frozen=True)
class Request:
    """A request: an encoded path, the query with the fields of a form, headers by lower-case name."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes = b""

    def flag(self, name: str) -> bool:
        """Whether a yes-or-no parameter is set."""
        return self.query.get(name, [""])[0].lower() in ("1", "true")


@dataclass(frozen=True)
class Response:
    """A whole answer: Content-Length, and the cut for a request with Range, are added by the server."""

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


def route(methods: str, pattern: str) -> Callable[[Endpoint], Endpoint]:
    """Register an endpoint for methods ("GET" or "GET|HEAD") and a path, which is matched while percent-encoded."""

    def register(endpoint: Endpoint) -> Endpoint:
        ROUTES.extend((method, re.compile(pattern), endpoint) for method in methods.split("|"))
        return endpoint

    return register


@route("GET", rf"{API}(?:/revision/(?P<rev>[^/]+))?")
def info(hub: "LoopbackHub", request: Request, match: Match) -> Response:
    """Metadata of a repository at a revision."""
    repository, commit = hub.find(request, match)
    card = re.match(rb"---\n(.*?)\n---", commit.files.get("README.md", b""), re.DOTALL)
    return Response.of(
        {
            "id": repository.id,
            "author": repository.id.partition("/")[0],
            "sha": commit.sha,
            "private": repository.private,
            "gated": "auto" if repository.gated else False,
            "disabled": False,
            "createdAt": repository.revisions[0].date,
            "lastModified": commit.date,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "cardData": yaml.safe_load(card[1]) if card else None,
            "siblings": list(commit.entries.values()),
        }
    )


@route("GET", rf"{API}/tree/(?P<rev>[^/]+)(?:/(?P<path>.*))?")
def tree(hub: "LoopbackHub", request: Request, match: Match) -> Response:
    """The files and folders below a folder, in pages that the header Link joins."""
    repository, commit = hub.find(request, match)
    folder = unquote(match["path"] or "").strip("/")
    files = commit.under(folder).keys() - {folder}
    if folder and not files:
        raise HubError(404, "EntryNotFound", f"{folder} is no folder of {repository.id} at {commit.sha}")
    root = PurePosixPath(folder)
    paths = {path for file in files for path in (PurePosixPath(file), *PurePosixPath(file).parents)}
    paths = {path for path in paths if root in (path.parents if request.flag("recursive") else path.parents[:1])}
    start = int(request.query.get("cursor", ["0"])[0])
    stop = start + hub.page_size
    page = sorted(map(str, paths))[start:stop]
    entries = repository.listing(page, commit, request.flag("expand"))
    if stop >= len(paths):
        return Response.of(entries)
    query = urlencode({**request.query, "cursor": [str(stop)]}, doseq=True)
    return Response.of(entries, {"Link": f'<{hub.url}{request.path}?{query}>; rel="next"'})


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


@route("GET|HEAD", rf"/(?:(?P<kinds>datasets|spaces)/)?{ID}/resolve/(?P<rev>[^/]+)/(?P<path>.+)")
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
    hub.storage[sha256] = data
    # A client follows a redirect within one host already at HEAD, and would never see these headers: hence localhost.
    location = f"{hub.url.replace('127.0.0.1', 'localhost')}/lfs/{sha256}/{quote(path)}"
    headers |= {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(data)), "Location": location}
    return Response(headers=headers, status=302)


@route("GET|HEAD", r"/lfs/(?P<sha256>[0-9a-f]{64})/.*")
def stored(hub: "LoopbackHub", _: Request, match: Match) -> Response:
    """LFS content, without a token: as at the Hub, who has the address has the permission."""
    if match["sha256"] not in hub.storage:
        return Response(status=404)
    return Response(hub.storage[match["sha256"]], {"ETag": f'"{match["sha256"]}"', "Accept-Ranges": "bytes"})


class LoopbackHub:
    """The server, from the `with` on; what it holds may change while it serves.

    Attributes:
        url: The endpoint, "http://127.0.0.1:port".
        token: The only accepted token. Without it a private repository does not exist (404 RepoNotFound), and a gated
            one shows, as at the Hub, everything but the content of its files (403 GatedRepo).
        requests: (method, path with query) of every request so far. An LFS file is one for `/.../resolve/REV/PATH` and
            one for `/lfs/SHA256/PATH`; a request meant for another host starts with "http".
        page_size: Entries in one page of a tree listing.
        first_fails: Whether the first request for each path is answered with an error.
        delay: Seconds before each answer, as a network would take.
        bytes_sent: Bodies of all answers so far.
    """

    def __init__(self) -> None:
        self.token = "hf_loopback"
        self.requests: list[tuple[str, str]] = []
        self.page_size = 1000
        self.first_fails = False
        self.delay = 0.0
        self.bytes_sent = 0
        self._failed: set[str] = set()
        self.repositories: dict[tuple[Kind, str], Repository] = {}
        self.storage: dict[str, bytes] = {}  # LFS content by SHA-256
        self._failures: list[int] = []
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

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
        repository = self.repositories.setdefault((kind, repo_id), Repository(kind, repo_id))
        repository.private |= private
        repository.gated |= gated
        return repository.commit(files).sha

    def tag(self, kind: Kind, repo_id: str, name: str, revision: str = "main") -> None:
        """Name a revision, or move the name."""
        repository = self.repositories[kind, repo_id]
        repository.refs[name] = repository.at(revision).sha

    def fail_next(self, n: int, status: int = 503) -> None:
        """Answer the next n requests, whatever they are, with an error."""
        self._failures += [status] * n

    def authorized(self, request: Request) -> bool:
        """Whether a request carries the token."""
        return request.headers.get("authorization") == f"Bearer {self.token}"

    def find(self, request: Request, match: Match) -> tuple[Repository, Commit]:
        """The repository and the commit that a path names, or RepoNotFound or RevisionNotFound."""
        named = match.groupdict()
        repository = self.repositories.get((KINDS[named["kinds"]], named["id"]))
        if not repository or (repository.private and not self.authorized(request)):
            raise HubError(404, "RepoNotFound", "Repository not found")
        return repository, repository.at(unquote(named.get("rev") or "main"))

    def answer(self, request: Request) -> Response:
        """Answer a request: the server without its socket."""
        with suppress(IndexError):  # not a look first: two threads could see the same last failure
            return Response(status=self._failures.pop(0))
        if self.first_fails and request.path not in self._failed:
            self._failed.add(request.path)
            return Response(status=503)
        try:
            for method, pattern, endpoint in ROUTES:
                if method == request.method and (match := pattern.fullmatch(request.path)):
                    return endpoint(self, request, match)
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
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # the default of 5 refuses a client with many threads

    def __init__(self, hub: LoopbackHub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"  # one connection for many requests
    disable_nagle_algorithm = True  # headers and body are two writes: with Nagle an answer takes 40 ms

    def _answer(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fields = parse_qs(query)
        if self.headers.get_content_type() == "application/x-www-form-urlencoded":
            fields |= parse_qs(body.decode())
        self.server.hub.requests.append((self.command, self.path))
        headers = {name.lower(): value for name, value in self.headers.items()}
        time.sleep(self.server.hub.delay)
        response = self.server.hub.answer(Request(self.command, path, fields, headers, body))
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
