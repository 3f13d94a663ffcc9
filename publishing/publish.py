"""Publishes a folder: public files to one dataset repository, the truth to another, which is private.

Everything is checked before anything is uploaded (`check`, `secrecy`). The truth goes first, and only where the Hub
says that the repository is private and one for truth; so truth and public files cannot change places, whatever the
arguments are. Then come the public files, a look at what is online, and a tag for the version.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import LocalTokenNotFoundError

from mico_hub.messages import listed
from mico_hub.release import repository
from mico_hub.release.disclosure import hidden_splits
from mico_hub.release.folder import PRIVATE, SuiteFolder
from mico_hub.release.manifest import Manifest
from mico_hub.release.parquet import read_truth
from mico_hub.release.repository import CARD, MANIFEST, VERSIONS
from mico_hub.sources.retries import retry
from publishing.hub import Content, PublishError, Repository, Synced, sync, verify

TRUTH_SUFFIX = "-truth"
TRUTH_TITLE = "Truth"
TRUTH_MARK = "mico-hub-truth"
TRUTH_CARD = f"""---
tags: [{TRUTH_MARK}]
---
# Truth of hidden splits

Keep this repository private. For each suite: `rows.parquet`, the records of every model and which of them are members;
`opening-SPLIT.json`, what opens the public commitment to a split's truth. To reveal a split, publish its opening.
"""


@dataclass(frozen=True, slots=True)
class Outline:
    """What is asked about repositories."""

    paths: frozenset[str]  # that go to the public one
    versions: bytes  # `versions.json`
    manifests: Sequence[Manifest]  # of suites with hidden truth of ours

    @classmethod
    def of(cls, root: Path) -> "Outline":
        """Of a published folder as it is, before anything is checked."""
        hidden = [each for each in repository.suites_in(root) if not each.origin and hidden_splits(each.suite)]
        paths = frozenset(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        versions = root / VERSIONS
        return cls(paths, versions.read_bytes() if versions.is_file() else repository.versions_json([]), hidden)


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes where."""

    public: Mapping[str, Content]
    truth: Mapping[str, Content]  # empty where nothing is hidden, or where nobody knows it
    folders: Mapping[SuiteFolder, Manifest]  # with that truth
    tag: str

    @property
    def outline(self) -> Outline:
        """What is asked about repositories."""
        return Outline(frozenset(self.public), self.public[VERSIONS].data(), [*self.folders.values()])


@dataclass(slots=True)
class Outcome:
    """What was done."""

    public: Synced = field(default_factory=Synced)
    truth: Synced = field(default_factory=Synced)
    public_id: str = ""
    truth_id: str = ""
    revision: str = ""


def plan(root: Path, fresh: Path, digests: Mapping[str, str], suites: Path) -> Plan:
    """What would go where; all but checkpoints and signals is held from here on.

    Args:
        root: The published folder, for its checkpoints.
        fresh: All other files, as `check` wrote them.
        digests: The files with the SHA-256 of what was checked, as `check` gives them.
        suites: The folder with the suite folders that it was built from.

    Raises:
        PublishError: A file has changed since it was checked.
    """
    manifests = repository.suites_in(fresh)
    truth: dict[str, Content] = {}
    folders: dict[SuiteFolder, Manifest] = {}
    for manifest in manifests:
        if not manifest.origin and hidden_splits(manifest.suite):
            folder = SuiteFolder(suites / manifest.suite.name)
            folders[folder] = manifest
            truth |= _truth_of(manifest, folder)
    if truth:
        truth[CARD] = Content(TRUTH_CARD.encode(), last=True)
    public = {}
    for path, digest in digests.items():
        if path.endswith(".safetensors"):
            holder = fresh if (fresh / path).is_file() else root
            public[path] = Content(holder / path, checked=digest)
            continue
        public[path] = Content((fresh / path).read_bytes(), last=True)
        if public[path].sha256() != digest:
            raise PublishError(f"{fresh / path} has changed since it was checked")
    return Plan(public, truth, folders, repository.versions(fresh)[-1].tag)


def _truth_of(manifest: Manifest, folder: SuiteFolder) -> dict[str, Content]:
    name = manifest.suite.name
    openings = [folder.opening_path(split) for split in hidden_splits(manifest.suite)]
    paths = (folder.rows_path(PRIVATE), *openings)
    if missing := [path.name for path in paths if not path.is_file()]:
        raise PublishError(f"{folder.root}: expected its private part, there is no {', '.join(missing)}")
    if folder.manifest() != manifest or len(read_truth(folder.rows_path(PRIVATE))) != sum(manifest.suite.models):
        raise PublishError(
            f"{folder.root}: its private part is of other models than are published: train what is missing, build again"
        )
    return {f"{name}/{path.name}": Content(path.read_bytes(), last=True) for path in paths}


def publish(made: Plan, api: HfApi, public_id: str, truth_id: str) -> Outcome:
    """Uploads a plan, verifies what is online, and tags it; what is there already is left alone.

    Args:
        made: From `plan`, of a folder that was checked.
        api: With the token of someone who may write to both.
        public_id: org/name of the dataset.
        truth_id: org/name of the private dataset with the truth.

    Raises:
        PublishError: Something stands against it, or could not be done; the message says what and what to do.
    """
    known_to(api)
    refuse(made.outline, api, public_id, truth_id)
    outcome = Outcome()
    if made.truth:
        truth = opened(api, truth_id, "dataset", private=True)
        require_private(truth)
        outcome.truth_id, outcome.truth = truth.id, sync(truth, made.truth, TRUTH_TITLE, delete=False)
        require_private(truth)
        verify(truth, made.truth, made.truth, "main", others=True)
    public = opened(api, public_id, "dataset", private=False)
    _tag_what_is_there(public)
    for folder, manifest in made.folders.items():
        if folder.manifest() != manifest:
            raise PublishError(f"{folder.root} has changed since it was checked; nothing public was uploaded")
        folder.mark_published(public.id)
    outcome.public_id, outcome.public = public.id, sync(public, made.public, f"Publish {made.tag}")
    head = str(public.info().sha)
    verify(public, made.public, outcome.public.uploaded, head)
    outcome.revision = tag(public, made.tag, head, made.public[VERSIONS].data())
    return outcome


def refuse(made: Outline, api: HfApi, public_id: str, truth_id: str) -> None:
    """Everything that stands against publishing on the Hub's side; nothing is changed there.

    Raises:
        PublishError: Truth and public files could meet, a repository holds something else, or a version is unknown.
    """
    refuse_names(public_id, truth_id)
    public, truth = (existing(api, repo_id) for repo_id in (public_id, truth_id))
    if public is not None:
        _refuse_for_public(public, made)
    if truth is not None and made.manifests:
        if public is not None:
            refuse_names(public.id, truth.id)  # by their present names: an old one may lead to the other
        _refuse_for_truth(truth)
    if truth is None and made.manifests and not truth_id.endswith(TRUTH_SUFFIX):
        raise PublishError(f"{truth_id}: expected the name of a new repository for truth to end in {TRUTH_SUFFIX}")


def existing(api: HfApi, repo_id: str) -> Repository | None:
    """The dataset under its present name; None where the token sees none."""
    repository = Repository(api, repo_id, "dataset")
    return Repository(api, repository.info().id, "dataset") if repository.exists() else None


def refuse_names(public_id: str, truth_id: str) -> None:
    """Sees to it that the names cannot be meant the other way round, before anything is made by them.

    Raises:
        PublishError: They can.
    """
    if truth_id == public_id:
        raise PublishError(f"{truth_id}: the truth cannot go where the public files go; name another --truth-repo")
    if public_id.endswith(TRUTH_SUFFIX):
        raise PublishError(f"{public_id} is the name of a repository for truth: nothing public goes there")


def known_to(api: HfApi, *repo_ids: str, retries: int | None = None) -> str:
    """The name that the token belongs to.

    Args:
        api: With the token.
        repo_ids: That it is to write to.
        retries: See `retry`: few where nothing is lost yet.

    Raises:
        PublishError: There is no token, or a repository is neither its owner's nor that of one of their organisations.
        RequestError: It is not accepted.
    """
    try:
        known = retry(api.whoami, "asking who the token belongs to", retries)
    except LocalTokenNotFoundError as error:
        raise PublishError("no token found: put one that may write into HF_TOKEN, or use `hf auth login`") from error
    name: str = known["name"]
    owners = [name, *(each["name"] for each in known.get("orgs", []))]
    if foreign := [repo_id for repo_id in repo_ids if repo_id.partition("/")[0] not in owners]:
        raise PublishError(
            f"the token is of {name}, who may write to {', '.join(f'{owner}/...' for owner in owners)}, and not to "
            f"{' and '.join(foreign)}"
        )
    return name


def opened(api: HfApi, repo_id: str, kind: str, *, private: bool, **options: str) -> Repository:
    """A repository under its present name, made if it is not there; an existing one keeps its settings.

    Raises:
        RequestError: It cannot be made or seen.
    """
    repository = Repository(api, repo_id, kind)
    if not repository.exists():  # asked first: to make one under an old name would end its redirection

        def create() -> None:
            api.create_repo(repo_id, repo_type=kind, private=private, exist_ok=True, **options)  # type: ignore[arg-type]

        retry(create, f"making {repo_id}")
    return Repository(api, repository.info().id, kind)


def _refuse_for_public(public: Repository, made: Outline) -> None:
    """What is online must be ours, without truth now or before, and what this folder was built on."""
    online = public.files()
    log = retry(lambda: public.api.list_repo_commits(public.id, repo_type=public.kind), f"asking for {public.id}")
    truth_there = f"tags: [{TRUTH_MARK}]" in _text(public, CARD, online) or any(
        Path(path).name in _TRUTH_NAMES for path in online
    )
    if truth_there or any(commit.title == TRUTH_TITLE for commit in log):
        raise PublishError(
            f"{public.id} holds the truth of suites, or has held it: nothing public goes there; are the names swapped?"
        )
    foreign = sorted(online.keys() - made.paths - {CARD})
    if VERSIONS not in online and foreign:
        raise PublishError(listed(f"{public.id} holds something else, which would be deleted:", foreign))
    _refuse_grown(public, made, online)
    text = _text(public, VERSIONS, online).encode()
    before = repository.versions_from(text, f"{public.id}/{VERSIONS}") if text else []
    ours = repository.versions_from(made.versions, VERSIONS)
    if before != ours[: len(before)]:
        raise PublishError(
            f"{public.id} has versions up to {before[-1].tag} that this folder does not know: put its {VERSIONS} into "
            f"the folder and build again, so that tags that are out keep their meaning"
        )


def _refuse_grown(public: Repository, made: Outline, online: Mapping[str, object]) -> None:
    """A suite that is online may be replaced by another training, but not get more models: its truth is fixed."""
    for manifest in made.manifests:
        path = f"{manifest.suite.name}/{MANIFEST}"
        if path not in online:
            continue
        before = Manifest.from_json(_text(public, path, online).encode(), f"{public.id}/{path}").commitments
        same = {split for split, commitment in before.items() if manifest.commitments.get(split) == commitment}
        if same and same != before.keys():
            changed = ", ".join(sorted(before.keys() - same))
            raise PublishError(
                f"{public.id} has {manifest.suite.name} with another commitment to {changed}: the suite was given more "
                f"models after it was published; train them as a new suite"
            )


_TRUTH_NAMES = {"rows.parquet", "keys.json", "opening-dev.json", "opening-final.json"}


def _refuse_for_truth(truth: Repository) -> None:
    """Only a private repository that is marked as one for truth, or is empty and named like one."""
    require_private(truth)
    online = truth.files()
    if VERSIONS in online:
        raise PublishError(f"{truth.id} holds a published dataset: no truth goes there; are the names swapped?")
    marked = f"tags: [{TRUTH_MARK}]" in _text(truth, CARD, online)
    if not marked and (online.keys() - {CARD} or not truth.id.endswith(TRUTH_SUFFIX)):
        raise PublishError(
            f"{truth.id} is not a repository for truth: expected one that this command made, or an empty one whose "
            f"name ends in {TRUTH_SUFFIX}"
        )


def require_private(truth: Repository) -> None:
    """Asks the Hub.

    Raises:
        PublishError: It is not private.
    """
    if truth.info().private is not True:
        raise PublishError(
            f"{truth.id} is not private: no truth goes there. Make it private, or name another --truth-repo; if it has "
            f"held truth, that is out"
        )


def _text(repository: Repository, path: str, online: Mapping[str, object]) -> str:
    return repository.content(path).decode() if path in online else ""


def _tags(public: Repository) -> dict[str, str]:
    refs = retry(lambda: public.api.list_repo_refs(public.id, repo_type=public.kind), f"asking for {public.id}")
    return {each.name: each.target_commit for each in refs.tags}


def _tag_what_is_there(public: Repository) -> None:
    """An interruption may have come before the tag; `versions.json` and what it names came in one commit."""
    text = _text(public, VERSIONS, public.files())
    if text and (name := repository.versions_from(text.encode(), VERSIONS)[-1].tag) not in _tags(public):
        tag(public, name, str(public.info().sha), text.encode())


def tag(public: Repository, name: str, revision: str, versions: bytes) -> str:
    """Gives a commit that name, unless it is taken: tags never move.

    Args:
        public: Where.
        name: `v1`, `v2`, ...
        revision: The commit.
        versions: What `versions.json` holds there.

    Returns:
        The commit that the tag names.

    Raises:
        PublishError: The tag is there, and names something else.
    """
    if name not in _tags(public):

        def create() -> None:
            public.api.create_tag(public.id, tag=name, revision=revision, repo_type=public.kind, exist_ok=True)

        retry(create, f"tagging {public.id}")
    target = _tags(public).get(name)
    if target is None:
        raise PublishError(f"{public.id}: the tag {name} was made and is not there; resume with the same command")
    if public.content(VERSIONS, target) != versions:
        raise PublishError(f"{public.id}: the tag {name} names {target}, which holds something else; look at it there")
    return target


def pending(made: Plan, api: HfApi, public_id: str, truth_id: str) -> dict[str, tuple[set[str], list[str]]]:
    """Repository -> (the paths that are not online as they are here, those online that would be deleted).

    Raises:
        RequestError: The Hub cannot be asked.
    """
    found: dict[str, tuple[set[str], list[str]]] = {}
    for repo_id, contents in ((public_id, made.public), (truth_id, made.truth)):
        if contents:
            repository = existing(api, repo_id)
            if repository is None:
                found[repo_id] = set(contents), []
                continue
            stale = sorted(repository.files().keys() - contents.keys()) if repo_id == public_id else []
            found[repo_id] = set(repository.differing(contents)), stale
    return found


def verify_all(made: Plan, api: HfApi, public_id: str, truth_id: str) -> dict[str, Mapping[str, Content]]:
    """Compares every byte that is online with the plan; uploads nothing.

    Returns:
        Repository -> the files that are online as they are here.

    Raises:
        PublishError: A file is missing or another one, or the truth is not private.
    """
    there = {public_id: made.public} | ({truth_id: made.truth} if made.truth else {})
    for repo_id, contents in there.items():
        repository = Repository(api, repo_id, "dataset")
        verify(repository, contents, contents, "main", others=repo_id == truth_id)
        if repo_id == truth_id:
            require_private(repository)
    return there


def refuse_unofficial(root: Path) -> None:
    """Sees to it that the published folder's suites are on the official base datasets.

    Raises:
        PublishError: Some are not known to be.
    """
    others = [
        f"{manifest.suite.name}: {manifest.suite.dataset}: {manifest.data_note}"
        for manifest in repository.suites_in(root)
        if not manifest.data_official
    ]
    if others:
        raise PublishError(
            listed("not the official base datasets; pass --unofficial-data if that is as it should be:", others)
        )
