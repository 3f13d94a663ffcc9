"""Nothing hidden is in the bytes that would be published. `leaks.py` says what is searched for."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from leaks import Needle, find, secrets_of, surroundings
from safetensors.numpy import load_file, save_file

from builders.build import build
from mico_hub.disclosure import Measured, disclose
from mico_hub.folder import PRIVATE_SCHEMA, PUBLIC_SCHEMA, SuiteFolder, read_rows, write_rows
from mico_hub.scoring import mico_score
from mico_hub.splits import Split, draw
from mico_hub.suites import SUITES, Suite
from mico_hub.training import train_suite

N = 1_797
NAMES = ("digits_inf", "digits_hi", "digits_lo")  # digits_lo reveals its training, as the ddp suites do


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def needles(trained: Path) -> list[Needle]:
    found = surroundings(trained, trained.parent)
    for name in NAMES:
        found += secrets_of(SuiteFolder(trained / name), N)
    return found


def republish(suites: Path, out: Path) -> dict[str, bytes]:
    build(sorted(suites.iterdir()), out)
    return files(out)


def swap_membership(folder: SuiteFolder, splits: tuple[str, ...]) -> None:
    """Exchanges members and non-members of the models in `splits`; checkpoints and measurements stay."""
    rows = read_rows(folder.rows_path("private"), PRIVATE_SCHEMA)
    for row in rows:
        if row["split"] in splits:
            row["membership"] = 1 - row["membership"]
    write_rows(rows, PRIVATE_SCHEMA, folder.rows_path("private"))
    folder.rows_path("public").unlink()
    train_suite(folder.manifest().suite, folder.root)


@pytest.mark.parametrize(("splits", "same"), [(("dev", "final"), True), (("train",), False)])
def test_swapped_hidden_labels_leave_every_public_byte_the_same(
    trained: Path, published: Path, tmp_path: Path, splits: tuple[str, ...], same: bool
) -> None:
    """With the checkpoints fixed. Swapping labels that are revealed must show, or the comparison sees nothing."""
    shutil.copytree(trained, tmp_path / "suites")
    for name in NAMES:
        swap_membership(SuiteFolder(tmp_path / "suites" / name), splits)
    assert (republish(tmp_path / "suites", tmp_path / "mico") == files(published)) is same


def test_everything_is_rebuilt_byte_for_byte_without_the_private_part(
    trained: Path, published: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "suites", ignore=shutil.ignore_patterns("private"))
    assert republish(tmp_path / "suites", tmp_path / "mico") == files(published)


def test_no_secret_is_in_any_public_file(trained: Path, published: Path) -> None:
    assert find(published, needles(trained)) == []


def in_card(root: Path, secret: bytes) -> None:
    with (root / "README.md").open("ab") as card:
        card.write(secret)


def in_parquet_metadata(root: Path, secret: bytes) -> None:
    path = root / "digits_hi" / "dev-00000-of-00001.parquet"
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"note": secret}), path)


def in_parquet_column(root: Path, secret: bytes) -> None:
    path = root / "digits_hi" / "dev-00000-of-00001.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("more", [[secret] * len(table)]), path, compression="zstd")


def in_checkpoint_metadata(root: Path, secret: bytes) -> None:
    path = root / "digits_hi" / "dev" / "model_4.safetensors"
    save_file(load_file(path), path, {"note": secret.decode("latin1")})


def in_checkpoint_tensor(root: Path, secret: bytes) -> None:
    path = root / "digits_hi" / "dev" / "model_4.safetensors"
    save_file(load_file(path) | {"more": np.frombuffer(secret, np.uint8)}, path)


@pytest.mark.parametrize(
    ("plant", "textual"),
    [
        (in_card, False),
        (in_parquet_metadata, False),
        (in_parquet_column, False),
        (in_checkpoint_metadata, True),
        (in_checkpoint_tensor, False),
    ],
)
def test_a_planted_leak_is_found(
    trained: Path, published: Path, tmp_path: Path, plant: Callable[[Path, bytes], None], textual: bool
) -> None:
    """One secret of each kind and form, wherever it could be put."""
    secrets = [
        (what, secret)
        for what, secret in secrets_of(SuiteFolder(trained / "digits_hi"), N)
        if what.startswith("model_4,") and (not textual or (secret.isascii() and secret.decode().isprintable()))
    ]
    assert len(secrets) >= (20 if textual else 100)
    planted = tmp_path / "mico"
    shutil.copytree(published, planted)
    plant(planted, b"|".join(secret for _, secret in secrets))
    found = [line.split(": ", 1)[1] for line in find(planted, secrets)]
    assert sorted(found) == sorted(what for what, _ in secrets)


@pytest.mark.parametrize("name", NAMES)
def test_rows_reveal_what_the_suites_disclosure_says(trained: Path, published: Path, name: str) -> None:
    suite = SuiteFolder(trained / name).manifest().suite
    truth = read_rows(trained / name / "private" / "rows.parquet", PRIVATE_SCHEMA)
    for split, ids in suite.model_ids.items():
        rows = read_rows(published / name / f"{split}-00000-of-00001.parquet", PUBLIC_SCHEMA)
        assert [row["model_id"] for row in rows] == list(ids)
        for row in rows:
            whole = truth[row["model_id"]]
            assert np.array_equal(row["challenge"], whole["challenge"])
            assert (np.diff(row["challenge"]) > 0).all()
            assert (row["membership"] is not None) == (split == "train")
            assert (row["training"] is not None) == (split == "train" or suite.disclosure == "training")
            if row["membership"] is not None:
                assert np.array_equal(row["membership"], whole["membership"])
            if row["training"] is not None:
                assert np.array_equal(row["training"], whole["training"])
            assert round(row["accuracy"], 3) == row["accuracy"]


def test_checkpoints_tell_nothing_by_size_or_header(published: Path) -> None:
    for name in NAMES:
        checkpoints = list((published / name).rglob("*.safetensors"))
        heads = {path.read_bytes()[: -4_810 * 4] for path in checkpoints}
        assert len(checkpoints) == 8
        assert len(heads) == 1


def test_an_order_that_could_tell_members_is_refused() -> None:
    split = draw(50, 20, 5)
    unsorted = Split(split.challenge[::-1], split.membership, split.training, split.evaluation)
    with pytest.raises(ValueError, match="expected an ascending challenge"):
        disclose(SUITES["digits_hi"], 0, unsorted, Measured("", "", 0, None, 1.0, None))


BLIND_MODELS = 400
ERROR_RATE = 5.0  # standard errors: each of the blind attacks below fails by chance once in 1.7 million runs


def blind_features(suite: Suite) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Membership of hidden models, and what can be known of a challenge point without any model."""
    splits = [draw(N, suite.n, suite.m) for _ in range(BLIND_MODELS)]
    shown, hidden = splits[: BLIND_MODELS // 2], splits[BLIND_MODELS // 2 :]
    as_member, as_challenge, in_training = np.zeros(N), np.zeros(N), np.zeros(N)
    for split in splits:
        as_challenge[split.challenge] += 1
    for split in shown:
        as_member[split.member] += 1
        in_training[split.training] += 1
    points = np.concatenate([split.challenge for split in hidden])
    return np.concatenate([split.membership for split in hidden]), {
        "record": points,
        "position": np.tile(np.arange(2 * suite.m), len(hidden)),
        "times a member in train": as_member[points],
        "times a challenge": as_challenge[points],
        "times in a training set": in_training[points],
        "times seen": (as_member + in_training)[points],
    }


def test_an_attack_without_the_models_stays_at_chance() -> None:
    """Were members balanced over models, or tied to their order, a count or a position would tell them."""
    suite = SUITES["digits_hi"]
    membership, features = blind_features(suite)
    m = len(membership) / 2
    standard_error = np.sqrt((2 * m + 1) / (12 * m * m))  # of the AUC under the null (Mann-Whitney)
    for name, feature in features.items():
        auc = mico_score(membership, feature.astype(float))["AUC"]
        assert abs(auc - 0.5) < ERROR_RATE * standard_error, name


def test_the_blind_attack_sees_balanced_members() -> None:
    """A drawing that evens out how often a record is a member is given away by counts."""
    rng = np.random.default_rng(0)
    times, membership, counts = np.zeros(N), [], []
    for _ in range(BLIND_MODELS):
        challenge = rng.choice(N, 200, replace=False)
        order = np.argsort(times[challenge] + rng.random(200))  # those that were members least often are members now
        labels = np.zeros(200)
        labels[order[:100]] = 1
        counts.append(times[challenge])
        membership.append(labels)
        times[challenge[order[:100]]] += 1
    auc = mico_score(np.concatenate(membership), np.concatenate(counts))["AUC"]
    m = 100 * BLIND_MODELS
    assert abs(auc - 0.5) > 2 * ERROR_RATE * np.sqrt((2 * m + 1) / (12 * m * m))
