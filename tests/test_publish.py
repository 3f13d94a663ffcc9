"""Publishing through the documented commands, with unmodified clients, to a Hub on the loopback interface."""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import fresh
import pytest
from loopback_hub import LoopbackHub, run_client
from parquet_surgery import LAYOUTS, PLACES, SECRET, planted

import publishing.publish
import upload_scripts.publish
from builders.build import build, derived
from mico_hub.release.folder import SuiteFolder
from mico_hub.release.parquet import FolderError, read_truth, write_truth
from mico_hub.signals.suite import compute_suite
from mico_hub.training.suite import train_suite
from publishing import hub
from publishing.check import check, state_of
from publishing.hub import PublishError
from publishing.publish import plan

ROOT = Path(__file__).parents[1]
PUBLIC, TRUTH = "org/mico", "org/mico-truth"
IMPATIENT = """
import contextlib, importlib, io, json, os, sys, traceback
import mico_hub.sources.retries, publishing.hub

import upload_scripts.check_leaks, upload_scripts.publish

def check_leaks(options):
    argv = sys.argv
    sys.argv = ["check_leaks.py", str(options.folder), "--suites", str(options.suites), "--trial"]
    try:
        return upload_scripts.check_leaks.main()
    finally:
        sys.argv = argv

mico_hub.sources.retries.PAUSES = (0.05, 0.05)
upload_scripts.publish.check_leaks = check_leaks  # here, not in a process of its own
for line in sys.stdin:
    asked = json.loads(line)
    os.chdir(asked["folder"])
    os.environ["HF_TOKEN"] = asked["token"]
    publishing.hub.BATCH = asked["batch"]
    publishing.hub.xet_at_hand = lambda: asked["xet"]
    sys.argv = [asked["script"], *asked["arguments"]]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = importlib.import_module("upload_scripts." + asked["script"].removesuffix(".py")).main()
        except SystemExit as error:
            code = error.code
        except Exception:
            traceback.print_exc()
            code = 70
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


@dataclass
class Site:
    """A Hub, and an interpreter that runs commands one after the other, in itself, with less patience."""

    hub: LoopbackHub
    shell: "subprocess.Popen[str]"
    home: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("home")
    with LoopbackHub() as hub:
        command = [sys.executable, "-c", IMPATIENT]
        environment = hub.environment(home)
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment, cwd=home, stdin=pipe, stdout=pipe, text=True) as shell:
            yield Site(hub, shell, home)
            assert shell.stdin is not None
            shell.stdin.close()


def of_a_trial(script: str, *arguments: str) -> tuple[str, ...]:
    """The suites that tests train have few models."""
    return (script, *arguments, *(["--trial"] if script in ("publish.py", "check_leaks.py") else []))


@dataclass
class Workplace:
    """A maintainer's folder with `mico` and `suites`, and the Hub, empty."""

    site: Site
    folder: Path

    @property
    def hub(self) -> LoopbackHub:
        """Where things go."""
        return self.site.hub

    @property
    def environment(self) -> dict[str, str]:
        """Of the maintainer."""
        return self.hub.environment(self.site.home) | {"HF_TOKEN": self.hub.token}

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A command as it is documented."""
        script, *others = of_a_trial(*arguments)
        return fresh.run(ROOT / "upload_scripts" / script, *others, cwd=self.folder, env=self.environment)

    def run(
        self, script: str, *arguments: str, batch: int = 200, token: str = "", xet: bool = False
    ) -> "subprocess.CompletedProcess[str]":
        """The same in the interpreter that is there already."""
        asked = {
            "folder": str(self.folder),
            "token": token or self.hub.token,
            "batch": batch,
            "xet": xet,
        }
        assert self.site.shell.stdin is not None
        assert self.site.shell.stdout is not None
        self.site.shell.stdin.write(
            json.dumps(asked | {"script": script, "arguments": of_a_trial(script, *arguments)[1:]}) + "\n"
        )
        self.site.shell.stdin.flush()
        code, out, err = json.loads(self.site.shell.stdout.readline())
        return subprocess.CompletedProcess([script, *arguments], code, out, err)

    def publish(self, *arguments: str, batch: int = 200, token: str = "") -> "subprocess.CompletedProcess[str]":
        """`publish.py mico org/mico`."""
        return self.run("publish.py", "mico", PUBLIC, *arguments, batch=batch, token=token)

    def train_again(self, name: str) -> None:
        """Replaces a suite, here and in the published folder, by one of the same recipe with other splits and keys."""
        folder = SuiteFolder(self.folder / "suites" / name)
        suite = folder.manifest().suite
        shutil.rmtree(folder.root)
        train_suite(suite, folder.root)
        build([folder.root], self.folder / "mico")

    def commits(self, repo_id: str = PUBLIC) -> int:
        """How many there are."""
        repository = self.hub.repositories.get(("dataset", repo_id))
        return len(repository.revisions) if repository else 0

    def online(self, repo_id: str = PUBLIC, revision: str = "main") -> dict[str, bytes]:
        """What the Hub holds, but for its own file; nothing where there is no such repository."""
        if ("dataset", repo_id) not in self.hub.repositories:
            return {}
        files = self.hub.files("dataset", repo_id, revision)
        return {path: content for path, content in files.items() if path != ".gitattributes"}

    def here(self) -> dict[str, bytes]:
        """What should be online."""
        root = self.folder / "mico"
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def place(site: Site, trained: Path, published: Path, tmp_path: Path) -> Workplace:
    """With nothing online."""
    served = site.hub
    for held in (served.repositories, served.storage, served.requests, served._moved, served._planned):
        held.clear()
    served.read_only, served.delay = False, 0
    folder = tmp_path / "work"
    shutil.copytree(published, folder / "mico")
    shutil.copytree(trained, folder / "suites")
    return Workplace(site, folder)


def passed(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def refused(done: "subprocess.CompletedProcess[str]", code: int = 2) -> str:
    assert done.returncode == code, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr + done.stdout


STRANGER = """
import json, sys
from datasets import load_dataset

suite = load_dataset("org/mico", "digits_hi")
streamed = next(iter(load_dataset("org/mico", "digits_hi", split="dev", streaming=True)))
first = load_dataset("org/mico", "digits_inf", split="train[:1]", revision="v1")
assert not [name for name in sys.modules if name.startswith("mico_hub")]
print(json.dumps({
    "rows": {split: len(suite[split]) for split in suite},
    "hidden": suite["dev"][0]["membership"], "shown": sum(suite["train"][0]["membership"]),
    "same": streamed == suite["dev"][0], "first": first[0]["model_id"],
}))
"""
USER = """
import mico_hub
from huggingface_hub import snapshot_download

rows = mico_hub.load_suite("digits_hi", "org/mico")
model = mico_hub.load_model(rows["dev"][0], source="org/mico")
inputs, labels, records = mico_hub.load_challenge(rows["dev"][0], source="org/mico")
print(model(inputs).shape)
snapshot_download("org/mico", repo_type="dataset", local_dir="mirror")
"""
OFFLINE = """
import datasets, mico_hub

rows = datasets.load_dataset("mirror", "digits_hi")
print(mico_hub.load_model(rows["final"][0], source="./mirror").mlp[0].weight.shape)
print(len(mico_hub.load_suite("digits_lo", "./mirror")["dev"]))
"""


def test_a_maintainer_publishes_and_a_stranger_loads(place: Workplace, tmp_path: Path) -> None:
    dry = passed(place.command("publish.py", "mico", PUBLIC, "--dry-run"))
    assert re.search(r"^org/mico +digits_hi/train/\*\.safetensors +4 +78,\d+ +4$", dry, re.M)
    assert re.search(r"^org/mico-truth +digits_hi/opening-dev\.json +1 ", dry, re.M)
    assert not place.hub.repositories
    done = passed(place.command("publish.py", "mico", PUBLIC))
    assert "no leak found" in done
    assert "org/mico: 53 of 53 files" in done
    assert "org/mico@v1 is" in done
    assert place.online() == place.here()
    suites = place.folder / "suites"
    for name, content in place.online(TRUTH).items():
        if name != "README.md":
            suite, file = name.split("/")
            assert content == (suites / suite / "private" / file).read_bytes()
    assert len(place.online(TRUTH)) == 10
    assert (place.hub.repositories["dataset", TRUTH].private, place.hub.repositories["dataset", PUBLIC].private) == (
        True,
        False,
    )

    before = place.commits(), place.commits(TRUTH)
    again = passed(place.run("publish.py", "mico", PUBLIC))
    assert "org/mico: 0 of 53 files" in again
    assert (place.commits(), place.commits(TRUTH)) == before
    assert "are online byte for byte" in passed(place.run("publish.py", "mico", PUBLIC, "--verify"))

    elsewhere = tmp_path / "stranger"
    elsewhere.mkdir()
    environment = place.hub.environment(elsewhere)
    seen = json.loads(passed(run_client(STRANGER, environment, elsewhere)).splitlines()[-1])
    assert seen == {"rows": {"train": 4, "dev": 2, "final": 2}, "hidden": None, "shown": 100, "same": True, "first": 0}
    assert "torch.Size([200, 10])" in passed(run_client(USER, environment, elsewhere))
    mirrored = passed(run_client(OFFLINE, environment | {"HF_HUB_OFFLINE": "1"}, elsewhere))
    assert mirrored.splitlines()[-2:] == ["torch.Size([64, 64])", "2"]


def test_a_run_that_is_killed_goes_on(place: Workplace) -> None:
    """Killed while checkpoints are uploaded, and again just before the card; nobody sees half a suite."""
    code = "import sys, publishing.hub as hub; hub.BATCH = 5; from upload_scripts.publish import main; sys.exit(main())"
    place.hub.delay = 0.05
    sent = 0
    for wanted in (7, 18):
        run = fresh.start("-c", code, "mico", PUBLIC, "--trial", cwd=place.folder, env=place.environment)
        deadline = time.monotonic() + 60
        while sum(method == "PUT" for method, _ in place.hub.requests) < wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        assert run.wait().returncode == -signal.SIGKILL
        assert "README.md" not in place.online()
        assert sent <= len(place.online()) < 53
        sent = len(place.online())
    assert sent >= 5
    place.hub.delay = 0
    before = len(place.hub.requests)
    done = passed(place.publish(batch=5))
    assert f"org/mico: {53 - sent} of 53 files" in done
    puts = [path for method, path in place.hub.requests[before:] if method == "PUT"]
    assert len(puts) == len(set(puts)) <= 53 - sent
    assert place.online() == place.here()


def test_failures_in_passing_are_tried_again_and_others_reported(place: Workplace) -> None:
    place.hub.fail(r"PUT /lfs/.*", 3)
    place.hub.fail(r"POST /api/datasets/org/mico/commit/main", 1, after=True)  # done, and the answer is lost
    place.hub.fail(r"POST /api/datasets/org/mico/commit/main", 1, 412)  # somebody else's commit came first
    done = passed(place.publish(batch=10))
    assert "org/mico: 53 of 53 files" in done
    assert place.online() == place.here()
    place.hub.rename("dataset", PUBLIC, "org/old")
    place.hub.rename("dataset", TRUTH, "org/old-truth")
    del place.hub._moved["dataset", PUBLIC], place.hub._moved["dataset", TRUTH]
    place.hub.fail(r"POST /api/datasets/org/mico/commit/main", 10_000, 500)
    message = refused(place.publish(batch=10))
    assert "uploading to org/mico: " in message
    assert "53 of 53 files are not online; resume with the same command:" in message
    assert "digits_hi/dev/model_4.safetensors" in message


def test_no_truth_goes_where_it_could_be_seen(place: Workplace) -> None:
    """However the names are given, wherever they lead, and whatever is there already."""
    assert "the truth cannot go where the public files go" in refused(place.publish("--truth-repo", PUBLIC))
    swapped = refused(place.run("publish.py", "mico", TRUTH, "--truth-repo", PUBLIC))
    assert "is the name of a repository for truth" in swapped
    unusual = refused(place.publish("--truth-repo", "org/secrets"))
    assert "org/secrets: expected the name of a new repository for truth to end in -truth" in unusual
    assert not place.hub.repositories
    place.hub.add("dataset", "org/open", {"README.md": b"# Anyone may read this"})
    assert "org/open is not private: no truth goes there" in refused(place.publish("--truth-repo", "org/open"))
    place.hub.add("dataset", "org/diary-truth", {"README.md": b"# Mine", "today.txt": b"rain"}, private=True)
    assert "org/diary-truth is not a repository for truth" in refused(place.publish("--truth-repo", "org/diary-truth"))
    place.hub.add("dataset", "org/later", {}, private=True)  # the dataset, to be made public: the names are swapped
    assert "org/later is not a repository for truth" in refused(
        place.run("publish.py", "mico", "org/fresh", "--truth-repo", "org/later")
    )
    assert {repo_id for _, repo_id in place.hub.repositories} == {"org/open", "org/diary-truth", "org/later"}
    place.hub.add("dataset", "org/empty-truth", {}, private=True)
    passed(place.publish("--truth-repo", "org/empty-truth"))
    place.hub.rename("dataset", "org/empty-truth", "org/moved")
    crossed = refused(place.run("publish.py", "mico", "org/moved", "--truth-repo", "org/more-truth"))
    assert "org/moved holds the truth of suites, or has held it: nothing public goes there" in crossed
    place.hub._moved["dataset", "org/alias-truth"] = PUBLIC
    assert "org/mico: the truth cannot go where" in refused(place.publish("--truth-repo", "org/alias-truth"))
    files = place.online("org/moved")
    place.hub.add("dataset", "org/moved", {"README.md": b"# Emptied"})
    assert "or has held it" in refused(place.run("publish.py", "mico", "org/moved", "--truth-repo", "org/more-truth"))
    place.hub.add("dataset", "org/moved", files)
    place.hub.repositories["dataset", PUBLIC].private = True
    dataset = refused(place.run("publish.py", "mico", "org/fresh", "--truth-repo", PUBLIC))
    assert "org/mico holds a published dataset: no truth goes there" in dataset
    for _, repo_id in place.hub.repositories:
        truths = [path for path in place.online(repo_id) if "opening" in path or path.endswith("rows.parquet")]
        assert bool(truths) == (repo_id == "org/moved")


def test_what_is_online_already_is_not_overwritten_by_a_wrong_name(place: Workplace) -> None:
    place.hub.add("dataset", "org/imagenet", {"README.md": b"# Images", "train.parquet": b"x"})
    assert "org/imagenet holds something else, which would be deleted" in refused(
        place.run("publish.py", "mico", "org/imagenet", "--dry-run")
    )
    assert "org/imagenet holds something else" in refused(place.run("publish.py", "mico", "org/imagenet"))
    assert place.online("org/imagenet") == {"README.md": b"# Images", "train.parquet": b"x"}
    assert set(place.hub.repositories) == {("dataset", "org/imagenet")}
    place.hub.add("space", "org/mico_score", {"README.md": b"# Another", "other.py": b"x"})
    assert "holds something else" in refused(place.run("publish_metric.py", "org/mico_score"))
    passed(place.publish())
    place.hub.add("dataset", PUBLIC, place.online() | {"digits_hi/notes.txt": b"by hand"})
    dry = passed(place.publish("--dry-run"))
    assert "org/mico: digits_hi/notes.txt would be deleted" in dry
    assert "1 deleted" in passed(place.publish())


def test_who_reads_while_a_suite_is_replaced_sees_the_old_one_whole(place: Workplace) -> None:
    """Checkpoints have the same paths in all versions: replaced ones, rows and card change in one commit."""
    passed(place.publish(batch=5))
    before = place.commits()
    place.train_again("digits_hi")
    assert "org/mico@v2" in passed(place.publish(batch=5))
    assert place.commits() == before + 1
    assert place.online() == place.here()


def test_upload_folder_takes_new_checkpoints_and_no_others(place: Workplace) -> None:
    """As where the client has Xet; here the client's `upload_folder` goes through LFS."""
    passed(place.run("publish.py", "mico", PUBLIC, batch=7, xet=True))
    assert place.online() == place.here()
    before = place.commits()
    place.train_again("digits_hi")
    passed(place.run("publish.py", "mico", PUBLIC, batch=7, xet=True))
    assert place.commits() == before + 1
    assert place.online() == place.here()


def test_what_was_checked_is_what_is_uploaded(place: Workplace) -> None:
    """In this process, for a file to change after the checks."""
    root = place.folder / "mico"
    fresh = place.folder / "fresh"
    made = plan(root, fresh, check(root, fresh, trial=True), place.folder / "suites")
    assert all(
        isinstance(content.source, bytes) for path, content in made.public.items() if not path.endswith(".safetensors")
    )
    path = root / "digits_hi" / "dev" / "model_4.safetensors"
    shutil.copy(place.folder / "suites" / "digits_hi" / "private" / "rows.parquet", path)
    with pytest.raises(PublishError, match="changed since they were checked") as raised:
        hub._require_checked(made.public)
    assert "digits_hi/dev/model_4.safetensors" in str(raised.value)
    with pytest.raises(PublishError, match="has changed since it was checked"):
        plan(root, fresh, {"README.md": "0" * 64}, place.folder / "suites")


def test_a_folder_that_changes_while_it_is_checked_is_not_uploaded(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, for a file to change during the leak check."""
    root = place.folder / "mico"
    path = root / "digits_hi" / "dev" / "model_4.safetensors"
    before = state_of(root)
    path.write_bytes(bytes(path.stat().st_size))
    assert [name for name, state in state_of(root).items() if state != before[name]] == [
        "digits_hi/dev/model_4.safetensors"
    ]
    shutil.copy(place.folder / "suites" / "digits_hi" / "public" / "dev" / "model_4.safetensors", path)

    def check_leaks(_: argparse.Namespace) -> int:
        rows = root / "digits_hi" / "dev-00000-of-00001.parquet"
        rows.write_bytes((root / "digits_lo" / rows.name).read_bytes())
        return 0

    monkeypatch.setattr(upload_scripts.publish, "check_leaks", check_leaks)
    for asked in ("known_to", "refuse"):  # of the Hub, which this process does not reach
        monkeypatch.setattr(publishing.publish, asked, lambda *_, **__: "")
    options = argparse.Namespace(folder=root, repository=PUBLIC, truth_repo=TRUTH, suites=place.folder / "suites")
    options.unofficial_data, options.verify, options.dry_run, options.trial = True, False, True, True
    with pytest.raises(PublishError, match="has changed while it was checked; nothing was uploaded"):
        upload_scripts.publish.run(options)


def test_a_tag_that_was_missed_is_made_and_a_wrong_one_is_named(place: Workplace) -> None:
    place.hub.fail(r"POST /api/datasets/org/mico/tag/", 10, 500)
    refused(place.publish())
    assert place.online() == place.here()
    place.hub._planned.clear()
    old = place.online()
    folder = SuiteFolder(place.folder / "suites" / "digits_hi")
    folder.manifest_path.write_bytes(replace(folder.manifest(), data_note="looked at again").to_json())
    build([folder.root], place.folder / "mico")
    passed(place.publish())
    assert place.online(PUBLIC, "v1") == old
    assert place.online(PUBLIC, "v2") == place.here()
    place.hub.tag("dataset", PUBLIC, "v2", "v1")
    assert "the tag v2 names" in refused(place.publish())


def test_verification_sees_that_the_truth_has_become_public(place: Workplace) -> None:
    passed(place.publish())
    place.hub.add("dataset", TRUTH, place.online(TRUTH) | {"digits_old/rows.parquet": b"of an earlier suite"})
    assert "are online byte for byte" in passed(place.publish("--verify"))
    passed(place.publish())
    assert "digits_old/rows.parquet" in place.online(TRUTH)
    place.hub.repositories["dataset", TRUTH].private = False
    assert "org/mico-truth is not private" in refused(place.publish("--verify"))


def test_what_must_not_be_published_is_not(place: Workplace) -> None:
    """A link to the truth, a leak, data that are not official: each is named, and nothing is uploaded."""
    link = place.folder / "mico" / "digits_hi" / "rows.parquet"
    link.symlink_to(place.folder / "suites" / "digits_hi" / "private" / "rows.parquet")
    assert "digits_hi/rows.parquet: expected no link, it leads to" in refused(place.publish())
    link.unlink()
    rows = place.folder / "suites" / "digits_hi" / "private" / "rows.parquet"
    kept = rows.read_bytes()
    shutil.copy(place.folder / "suites" / "digits_inf" / "private" / "rows.parquet", rows)
    message = refused(place.publish(), code=3)
    assert re.search(r"^\d+ problems:$", message, re.M)
    assert "nothing was uploaded" in message
    rows.unlink()
    assert "expected its private part" in refused(place.publish())
    rows.write_bytes(kept)
    folder = SuiteFolder(place.folder / "suites" / "digits_lo")
    unofficial = replace(folder.manifest(), data_official=False, data_note="made up").to_json()
    for path in (folder.manifest_path, folder._begun_path):
        path.write_bytes(unofficial)
    build([folder.root], place.folder / "mico")
    assert "digits_lo: digits: made up" in refused(place.publish())
    assert not place.hub.repositories
    assert "org/mico@v2" in passed(place.publish("--unofficial-data"))


def test_who_may_not_write_is_told(place: Workplace) -> None:
    wrong = refused(place.publish(token="hf_wrong"))
    assert "the token was refused" in wrong
    assert not place.hub.repositories
    place.hub.read_only = True
    assert "the token was refused" in refused(place.publish())
    place.hub.read_only = False
    for more in ((), ("--dry-run",)):
        elsewhere = refused(place.run("publish.py", "mico", "others/mico", *more))
        assert (
            "the token is of maintainer, who may write to maintainer/..., org/..., and not to others/mico" in elsewhere
        )
    for arguments in (["org/mico", "mico"], ["mico", "mico"], ["nowhere", "org/mico"]):
        message = refused(place.run("publish.py", *arguments))
        assert "expected a repository org/name" in message or "expected a published folder" in message


def test_what_takes_seconds_to_ask_comes_before_what_takes_minutes(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a folder that no check would pass: names, token, organisation, versions, a truth that anyone can see."""
    (place.folder / "mico" / "digits_hi" / "stray.txt").write_text("x")
    assert "stray.txt: not part of a published folder" in refused(place.publish("--dry-run"))
    assert "are the names swapped?" not in refused(place.publish("--dry-run"))
    assert "no token found" in refused(place.publish("--dry-run", token=" "))
    assert "is the name of a repository for truth" in refused(place.run("publish.py", "mico", TRUTH, "--dry-run"))
    place.hub.add("dataset", TRUTH, {}, private=False)
    assert f"{TRUTH} is not private: no truth goes there" in refused(place.publish("--dry-run"))
    place.hub.repositories["dataset", TRUTH].private = True
    versions = (place.folder / "mico" / "versions.json").read_bytes()
    place.hub.add("dataset", PUBLIC, {"versions.json": re.sub(rb'"[0-9a-f]{64}"', b'"' + b"0" * 64 + b'"', versions)})
    assert "has versions up to v1 that this folder does not know" in refused(place.publish("--dry-run"))


def test_the_test_hub_is_started_by_hand(tmp_path: Path) -> None:
    """As docs/publishing.md rehearses a publication."""
    command = [sys.executable, str(ROOT / "tests" / "loopback_hub.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as hub:
        assert hub.stdout is not None
        set_by_hand = dict(re.findall(r"(HF_\w+)=(\S+)", hub.stdout.readline()))
        try:
            asked = "import huggingface_hub; print(huggingface_hub.HfApi().whoami()['name'])"
            done = subprocess.run([sys.executable, "-c", asked], env=os.environ | set_by_hand | {"HF_HUB_OFFLINE": "0"},
                                  capture_output=True, text=True, check=True)  # fmt: skip
            assert done.stdout == "maintainer\n"
        finally:
            hub.send_signal(signal.SIGINT)
        assert hub.wait(10) == 0


def test_a_folder_to_publish_is_not_inside_a_suite(place: Workplace) -> None:
    refusal = refused(place.command("build_repo.py", "suites/digits_hi", "--out", "suites/digits_hi/public/mico"))
    assert "is inside the suite folder suites/digits_hi: name a folder elsewhere with --out" in refusal
    assert not (place.folder / "suites" / "digits_hi" / "public" / "mico").exists()


def test_a_changed_suite_is_a_new_version_and_the_old_one_keeps_loading(place: Workplace, tmp_path: Path) -> None:
    passed(place.publish())
    old = place.online()
    folder = SuiteFolder(place.folder / "suites" / "digits_hi")
    folder.manifest_path.write_bytes(replace(folder.manifest(), data_note="looked at again").to_json())
    build([folder.root], place.folder / "mico")
    place.hub.rename("dataset", PUBLIC, "org/renamed")  # and the repository has another name by now
    done = passed(place.publish("--truth-repo", TRUTH))
    assert "org/renamed@v2 is" in done
    assert place.online("org/renamed", "v1") == old
    assert place.online("org/renamed") == place.here() == place.online("org/renamed", "v2")
    passed(place.publish("--verify", "--truth-repo", TRUTH))
    code = """
    import datasets
    for revision in ("v1", "v2"):
        builder = datasets.load_dataset_builder("org/mico", "digits_hi", revision=revision)
        print(builder.config.description, len(datasets.load_dataset("org/mico", "digits_hi", revision=revision)["dev"]))
    try:
        datasets.load_dataset("org/mico", "digits_hi", revision="v3")
    except Exception as error:
        print(type(error).__name__, error)
    """
    lines = passed(run_client(code, place.hub.environment(tmp_path / "home"), tmp_path)).splitlines()
    assert len(set(lines[-3:-1])) == 2
    assert all(line.endswith(" 2") for line in lines[-3:-1])
    assert "v3" in lines[-1]
    shutil.rmtree(place.folder / "mico")
    build(sorted((place.folder / "suites").iterdir()), place.folder / "mico")
    assert "has versions up to v2 that this folder does not know" in refused(place.publish("--truth-repo", TRUTH))


def test_a_private_or_gated_repository_stays_so(place: Workplace, tmp_path: Path) -> None:
    """The maintainer makes it before; strangers are told what they may not read."""
    place.hub.add("dataset", PUBLIC, {}, gated=True)
    passed(place.publish())
    repository = place.hub.repositories["dataset", PUBLIC]
    assert (repository.gated, repository.private) == ("auto", False)
    code = """
    import mico_hub
    try:
        rows = mico_hub.load_suite("digits_hi", "org/mico")
        print(type(mico_hub.load_model(rows["dev"][0], source="org/mico")).__name__)
    except Exception as error:
        print(type(error).__name__, str(error).replace(chr(10), " "))
    """
    environment = place.hub.environment(tmp_path / "home")
    printed = [passed(run_client(code, environment, tmp_path)).splitlines()[-1]]
    printed.append(passed(run_client(code, environment | {"HF_TOKEN": place.hub.token}, tmp_path)).splitlines()[-1])
    repository.private = True
    printed.append(passed(run_client(code, place.hub.environment(tmp_path / "other"), tmp_path)).splitlines()[-1])
    passed(place.publish())
    assert repository.private
    assert "gated" in printed[0].lower() or "restricted" in printed[0].lower()
    assert printed[1] == "MLP"
    assert "org/mico" in printed[2]


def test_the_metric_is_published_as_a_space(place: Workplace, tmp_path: Path) -> None:
    assert "9 of 9 files uploaded" in passed(place.run("publish_metric.py", "org/mico_score"))
    assert "0 of 9 files uploaded, 0 commits" in passed(place.run("publish_metric.py", "org/mico_score"))
    assert "expected org/mico_score, got 'org/score'" in refused(place.run("publish_metric.py", "org/score"))
    code = """
    import evaluate
    metric = evaluate.load("org/mico_score")
    print(metric.compute(predictions=[0.9, 0.8, 0.1, 0.2], references=[1, 1, 0, 0])["AUC"])
    """
    elsewhere = tmp_path / "user"
    elsewhere.mkdir()
    assert passed(run_client(code, place.hub.environment(elsewhere), elsewhere)).splitlines()[-1] == "1.0"


def test_the_leak_check_is_a_command(place: Workplace) -> None:
    assert "no leak found" in passed(place.run("check_leaks.py", "mico"))
    opening = place.folder / "suites" / "digits_hi" / "private" / "opening-dev.json"
    shutil.copy(place.folder / "suites" / "digits_inf" / "private" / "opening-dev.json", opening)
    message = refused(place.run("check_leaks.py", "mico"), code=3)
    assert "digits_hi: opening-dev.json: it is not the suite's truth" in message
    (place.folder / "suites").rename(place.folder / "elsewhere")
    assert "expected a suite folder" in refused(place.run("check_leaks.py", "mico"))


def test_nothing_that_somebody_put_into_a_parquet_file_goes_online(place: Workplace) -> None:
    """Another writer's settings and version, row groups, statistics, metadata, bytes between pages, in frames, ..."""
    clean = place.here()
    paths = sorted((place.folder / "mico").rglob("*.parquet"))
    variants = [planted(path) for path in paths]
    assert len(variants) < len(variants[0])  # so each file has another one, and the last are left for the next run
    for number, (path, of_file) in enumerate(zip(paths, variants, strict=True)):
        path.write_bytes(list(of_file.values())[number])
    write_derived(place.folder / "mico")
    passed(place.publish())
    assert place.online() == clean
    for path, of_file in zip(paths, variants, strict=True):
        path.write_bytes(list(of_file.values())[-1])
    write_derived(place.folder / "mico")
    passed(place.publish("--verify"))
    assert "0 of" in passed(place.publish())
    assert place.online() == clean
    assert not any(SECRET in content for content in place.online().values())


@pytest.mark.parametrize("variant", [*LAYOUTS, *PLACES])
def test_each_hiding_place_is_left_behind(published: Path, tmp_path: Path, variant: str) -> None:
    root = tmp_path / "mico"
    shutil.copytree(published, root)
    path = root / "digits_hi" / "dev-00000-of-00001.parquet"
    content = planted(path)[variant]
    clean = path.read_bytes()
    path.write_bytes(content)
    write_derived(root)
    assert content != clean
    check(root, tmp_path / "fresh", trial=True)
    assert (tmp_path / "fresh" / path.relative_to(root)).read_bytes() == clean


def write_derived(root: Path) -> None:
    """As `build_repo.py` does, which another version of pyarrow may have done."""
    for name, content in derived(root).items():
        (root / name).write_bytes(content)


def test_a_suite_that_is_published_is_marked_and_does_not_grow(place: Workplace) -> None:
    folder = SuiteFolder(place.folder / "suites" / "digits_hi")
    assert folder.published() is None
    passed(place.publish("--dry-run"))
    assert folder.published() is None
    passed(place.publish())
    assert folder.published() == PUBLIC
    suite = folder.manifest().suite
    with pytest.raises(FolderError, match="it was published in org/mico"):
        train_suite(suite.with_models(4, 2, 3), folder.root)


def test_a_suite_that_grew_elsewhere_is_not_published_over_the_smaller_one(place: Workplace) -> None:
    """A copy of the folder that does not know that it was published."""
    passed(place.publish())
    folder = SuiteFolder(place.folder / "suites" / "digits_hi")
    (folder.root / "private" / "published.json").unlink()
    train_suite(folder.manifest().suite.with_models(4, 2, 3), folder.root)
    compute_suite(folder.root)
    build([folder.root], place.folder / "mico")
    before = place.commits()
    assert "with another commitment to final: the suite was given more" in refused(place.publish())
    assert place.commits() == before


def test_a_truth_of_more_models_than_are_published_is_not_uploaded(place: Workplace) -> None:
    folder = SuiteFolder(place.folder / "suites" / "digits_lo")
    rows = read_truth(folder.rows_path("private"))
    write_truth([*rows, rows[-1]], folder.rows_path("private"))
    assert "its private part is of other models than are published" in refused(place.publish())
    assert not place.commits(TRUTH)
