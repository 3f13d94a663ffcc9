"""Publishes a folder: public files to one dataset repository, the truth to another, which is private.

Everything is checked before anything is uploaded (`check`, `secrecy`). The truth goes first, and only where the Hub
says that the repository is private and no published dataset; so truth and public files cannot change places, whatever
the arguments are. Then come the public files, a tag for the version, and a look at what is online.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import LocalTokenNotFoundError

from builders.hub import Content, PublishError, Repository, Synced, patiently, sync, verify
from mico_hub import repository as published
from mico_hub.disclosure import hidden_splits
from mico_hub.folder import PRIVATE, Manifest, SuiteFolder
from mico_hub.repository import CARD, VERSIONS

TRUTH_SUFFIX = "-truth"
TRUTH_MARK = "mico-hub-truth"
TRUTH_CARD = f"""---
tags: [{TRUTH_MARK}]
---
# Truth of hidden splits

Keep this repository private. For each suite: `rows.parquet`, the records of every model and which of them are members;
`opening-SPLIT.json`, what opens the public commitment to a split's truth. To reveal a split, publish its opening.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes where."""

    public: Mapping[str, Content]
    truth: Mapping[str, Content]  # empty where nothing is hidden, or where nobody knows it
    tag: str


@dataclass(slots=True)
class Outcome:
    """What was done."""

    public: Synced = field(default_factory=Synced)
    truth: Synced = field(default_factory=Synced)
    public_id: str = ""
    truth_id: str = ""
    revision: str = ""


def plan(root: Path, paths: Sequence[str], suites: Path) -> Plan:
    """What would go where.

    Args:
        root: The published folder.
        paths: Its files, as `check` gives them.
        suites: The folder with the suite folders that it was built from.
    """
    manifests = published.suites_in(root)
    truth: dict[str, Content] = {}
    for manifest in manifests:
        if not manifest.origin and hidden_splits(manifest.suite):
            truth |= _truth_of(manifest, SuiteFolder(suites / manifest.suite.name))
    if truth:
        truth[CARD] = Content(TRUTH_CARD.encode(), last=True)
    public = {path: Content(root / path, last=not path.endswith(".safetensors")) for path in paths}
    return Plan(public, truth, published.versions(root)[-1].tag)


def _truth_of(manifest: Manifest, folder: SuiteFolder) -> dict[str, Content]:
    name = manifest.suite.name
    openings = [folder.opening_path(split) for split in hidden_splits(manifest.suite)]
    return {f"{name}/{path.name}": Content(path, last=True) for path in (folder.rows_path(PRIVATE), *openings)}


def publish(made: Plan, api: HfApi, public_id: str, truth_id: str) -> Outcome:
    """Uploads a plan, tags the version, and verifies what is online; what is there already is left alone.

    Args:
        made: From `plan`, of a folder that was checked.
        api: With the token of someone who may write to both.
        public_id: org/name of the dataset.
        truth_id: org/name of the private dataset with the truth.

    Raises:
        PublishError: Something stands against it, or could not be done; the message says what and what to do.
    """
    known_to(api)
    refuse_names(public_id, truth_id)
    outcome = Outcome()
    public = opened(api, public_id, "dataset", private=False)
    _refuse_for_public(public, made)
    if made.truth:
        truth = opened(api, truth_id, "dataset", private=True)
        _refuse_for_truth(truth, public)
        kept = {path: Content(b"".join(truth.read(path))) for path in truth.files() if path not in made.truth}
        contents = {**kept, **made.truth}  # truth of suites that are not in this folder stays
        outcome.truth_id, outcome.truth = truth.id, sync(truth, contents, "Truth")
        _refuse_for_truth(truth, public)
        verify(truth, contents, made.truth, "main")
    outcome.public_id, outcome.public = public.id, sync(public, made.public, f"Publish {made.tag}")
    outcome.revision = tag(public, made.tag)
    verify(public, made.public, outcome.public.uploaded, "main")
    return outcome


def refuse_names(public_id: str, truth_id: str) -> None:
    """Sees to it that the names cannot be meant the other way round, before anything is made by them.

    Raises:
        PublishError: They can.
    """
    if truth_id == public_id:
        raise PublishError(f"{truth_id}: the truth cannot go where the public files go; name another --truth-repo")
    if public_id.endswith(TRUTH_SUFFIX):
        raise PublishError(f"{public_id} is the name of a repository for truth: nothing public goes there")


def known_to(api: HfApi) -> str:
    """The name that the token belongs to.

    Raises:
        PublishError: There is no token, or it is not accepted.
    """
    try:
        name: str = patiently(api.whoami, "asking who the token belongs to")["name"]
    except LocalTokenNotFoundError as error:
        raise PublishError(
            "expected a token that may write, in HF_TOKEN or by `hf auth login`; there is none"
        ) from error
    return name


def opened(api: HfApi, repo_id: str, kind: str, *, private: bool, **options: str) -> Repository:
    """A repository under its present name, made if it is not there; an existing one keeps its settings.

    Raises:
        PublishError: It cannot be made or seen.
    """
    repository = Repository(api, repo_id, kind)
    if not repository.exists():  # asked first: to make one under an old name would end its redirection

        def create() -> None:
            api.create_repo(repo_id, repo_type=kind, private=private, exist_ok=True, **options)  # type: ignore[arg-type]

        patiently(create, f"making {repo_id}")
    info = patiently(lambda: api.repo_info(repo_id, repo_type=kind), f"asking for {repo_id}")
    return Repository(api, info.id, kind)


def _refuse_for_public(public: Repository, made: Plan) -> None:
    """Truth must not be mixed with public files, and what is online must be what this folder was built on."""
    online = public.files()
    if f"tags: [{TRUTH_MARK}]" in _text(public, CARD, online) or any(
        Path(path).name in _TRUTH_NAMES for path in online
    ):
        raise PublishError(f"{public.id} holds the truth of suites: nothing public goes there; are the names swapped?")
    before = published.versions_from(_text(public, VERSIONS, online).encode() or b"[]", f"{public.id}/{VERSIONS}")
    ours = published.versions_from(made.public[VERSIONS].data(), VERSIONS)
    if before != ours[: len(before)]:
        raise PublishError(
            f"{public.id} has versions up to {before[-1].tag} that this folder does not know: put its {VERSIONS} into "
            f"the folder and build again, so that tags that are out keep their meaning"
        )


_TRUTH_NAMES = {"rows.parquet", "keys.json", "opening-dev.json", "opening-final.json"}


def _refuse_for_truth(truth: Repository, public: Repository) -> None:
    refuse_names(public.id, truth.id)  # by their present names: an old one may lead to the other
    info = patiently(lambda: truth.api.repo_info(truth.id, repo_type=truth.kind), f"asking for {truth.id}")
    if info.private is not True:
        raise PublishError(
            f"{truth.id} is not private: no truth goes there. Make it private, or name another --truth-repo; if it has "
            f"held truth, that is out"
        )
    if VERSIONS in truth.files():
        raise PublishError(f"{truth.id} holds a published dataset: no truth goes there; are the names swapped?")


def _text(repository: Repository, path: str, online: Mapping[str, object]) -> str:
    if path not in online:
        return ""
    return patiently(lambda: b"".join(repository.read(path)), f"reading {path} of {repository.id}").decode()


def tag(public: Repository, name: str) -> str:
    """Names what is online now, unless that name is taken: tags never move.

    Returns:
        The commit that the tag names.
    """
    refs = patiently(lambda: public.api.list_repo_refs(public.id, repo_type=public.kind), f"asking for {public.id}")
    known = {each.name: each.target_commit for each in refs.tags}
    if name not in known:

        def create() -> None:
            public.api.create_tag(public.id, tag=name, repo_type=public.kind, exist_ok=True)

        patiently(create, f"tagging {public.id}")
        return tag(public, name)
    return known[name]


def pending(made: Plan, api: HfApi, public_id: str, truth_id: str) -> dict[str, set[str] | None]:
    """Repository -> the paths that are not online as they are here; None where there is no such repository yet.

    Raises:
        PublishError: The Hub cannot be asked.
    """
    found: dict[str, set[str] | None] = {}
    for repo_id, contents in ((public_id, made.public), (truth_id, made.truth)):
        if contents:
            repository = Repository(api, repo_id, "dataset")
            found[repo_id] = set(repository.differing(contents)) if repository.exists() else None
    return found
