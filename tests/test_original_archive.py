"""Archives of strangers: what cannot be trusted is refused whole, and says why."""

import gzip
import io
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from originals import PURCHASE, SST2, made, md5, members, named, tarred, zipped

from mico_hub.sources import original
from mico_hub.sources.original import OriginalError
from mico_hub.sources.original.archive import Archive
from mico_hub.sources.original.release import locate

pytestmark = pytest.mark.usefixtures("fresh_cache")

FOLDER = "cifar10/cifar10_lo/train/model_0"
GOOD = {f"{FOLDER}/seed_challenge": b"1\n", f"{FOLDER}/model.pt": random.Random(0).randbytes(50_000)}


def opened(path: Path) -> Archive:
    archive = Archive(path, md5(path))
    archive.listing("cifar10_lo")
    return archive


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_members_are_found_and_read(pack: Callable[..., Path], tmp_path: Path) -> None:
    archive = opened(pack(GOOD | {"README": b"read me", "cifar10/cifar10_lo/train/model_0/notes": b""}, tmp_path / "a"))
    entries = {entry.location.path: entry for entry in archive.listing("cifar10_lo")}
    assert {path: entry.size for path, entry in entries.items()} == {
        "cifar10_lo/train/model_0/seed_challenge": 2,
        "cifar10_lo/train/model_0/model.pt": 50_000,
    }
    seed, weights = (entries[f"cifar10_lo/train/model_0/{name}"].location for name in ("seed_challenge", "model.pt"))
    assert archive.read([seed]) == {seed: b"1\n"}
    assert list(archive.each([weights], lambda _, path: path.read_bytes())) == [(weights, GOOD[f"{FOLDER}/model.pt"])]
    other = weights.beside("pytorch_model.bin")
    ((_, problem),) = archive.each([other], lambda _, path: path)
    assert isinstance(problem, FileNotFoundError)


def test_nothing_unpacked_is_left_behind(tmp_path: Path, fresh_cache: Path) -> None:
    archive = opened(zipped(GOOD, tmp_path / "a.zip"))
    location = locate(f"{FOLDER}/model.pt")
    assert location is not None

    def fail(*_: object) -> None:
        raise ValueError("no")

    ((_, problem),) = archive.each([location], fail)
    assert str(problem) == "no"
    assert not list((fresh_cache / "original-1.1" / "unpacked").iterdir())


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../escape", f"{FOLDER}/../../escape", "a\\..\\..\\b", "C:/windows/system.ini", "C:\\a", "\\a"],
)
def test_a_name_that_leads_outside_is_refused(pack: Callable[..., Path], name: str, tmp_path: Path) -> None:
    path = pack(GOOD | {name: b"evil"}, tmp_path / "a")
    with pytest.raises(OriginalError, match=r"is refused, nothing was unpacked: member .* leads outside"):
        opened(path)


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_backslashes_of_windows_are_slashes(pack: Callable[..., Path], tmp_path: Path) -> None:
    """Old programs there write them, against the format; nothing is unpacked under its own name."""
    path = pack({name.replace("/", "\\"): content for name, content in GOOD.items()}, tmp_path / "a")
    if pack is zipped:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(zipfile.ZipInfo("cifar10\\cifar10_lo\\"), b"")
    archive_ = opened(path)
    assert {entry.location.path for entry in archive_.listing("cifar10_lo")} == {
        "cifar10_lo/train/model_0/seed_challenge",
        "cifar10_lo/train/model_0/model.pt",
    }
    location = locate(f"{FOLDER}/model.pt")
    assert location is not None
    assert list(archive_.each([location], lambda _, path: path.read_bytes())) == [
        (location, GOOD[f"{FOLDER}/model.pt"])
    ]
    twice = pack(GOOD | {f"{FOLDER}/model.pt".replace("/", "\\"): b""}, tmp_path / "b")
    with pytest.raises(OriginalError, match="comes twice"):
        opened(twice)


def with_tar_member(path: Path, info: tarfile.TarInfo) -> Path:
    tarred(GOOD, path)
    files = members(path.rename(path.with_suffix(".tgz")))
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            plain = tarfile.TarInfo(name)
            plain.size = len(content)
            archive.addfile(plain, io.BytesIO(content))
        archive.addfile(info)
    return path


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, tmp_path: Path) -> None:
    info = tarfile.TarInfo(f"{FOLDER}/seed_training")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(OriginalError, match=r"'.*/seed_training' is a link, a device, encrypted or packed"):
        opened(with_tar_member(tmp_path / "a.tar.gz", info))


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    path = zipped(GOOD, tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo(f"{FOLDER}/seed_training")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(OriginalError, match=r"'.*/seed_training' is a link, a device, encrypted or packed"):
        opened(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packing_that_cannot_be_read_in_bounds_is_refused(method: int, tmp_path: Path) -> None:
    path = zipped(GOOD, tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{FOLDER}/seed_training", bytes(1000), method)
    with pytest.raises(OriginalError, match=r"'.*/seed_training' is a link, .* packed otherwise than by deflate"):
        opened(path)


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_names_may_begin_with_the_folder_itself(pack: Callable[..., Path], tmp_path: Path) -> None:
    archive = opened(pack({f"./{name}": content for name, content in GOOD.items()}, tmp_path / "a"))
    assert len(archive.listing("cifar10_lo")) == 2


def test_a_large_extended_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    info = tarfile.TarInfo("small")
    info.pax_headers = {"comment": random.Random(0).randbytes(100_000).hex()}
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    with pytest.raises(OriginalError, match=r"damaged or truncated one \(ReadError: a header of 200,"):
        opened(path)


def test_one_damaged_member_keeps_no_other_from_being_read(tmp_path: Path) -> None:
    names = [f"{FOLDER}/model.pt", f"{FOLDER.replace('_0', '_1')}/model.pt"]
    path = zipped({name: random.Random(0).randbytes(50_000) for name in names}, tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    content[5_000] ^= 255
    path.write_bytes(content)
    archive = opened(path)
    wanted = [entry.location for entry in archive.listing("cifar10_lo")]
    results = dict(archive.each(wanted, lambda _, found: found.stat().st_size))
    assert {location.model_id: type(result).__name__ for location, result in results.items()} == {
        0: "OriginalError",
        1: "int",
    }


def test_what_a_killed_process_left_is_removed(tmp_path: Path, fresh_cache: Path) -> None:
    left = fresh_cache / "original-1.1" / "unpacked" / "tmpleft"
    left.mkdir(parents=True)
    (left / "model.pt").write_bytes(b"half")
    left.with_suffix(".lock").touch()
    archive = opened(zipped(GOOD, tmp_path / "a.zip"))
    location = locate(f"{FOLDER}/model.pt")
    assert location is not None
    list(archive.each([location], lambda _, path: path))
    assert not left.exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    path = zipped(GOOD, tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{FOLDER}/seed_challenge", "2\n")
    with pytest.raises(OriginalError, match=r"'.*/seed_challenge' comes twice"):
        opened(path)


def test_one_file_under_two_names_is_refused(tmp_path: Path) -> None:
    path = zipped(GOOD | {f"other/{FOLDER.split('/', 1)[1]}/seed_challenge": b"2\n"}, tmp_path / "a.zip")
    with pytest.raises(OriginalError, match="it has cifar10_lo/train/model_0/seed_challenge twice"):
        opened(path)


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_bomb_is_refused_before_it_is_unpacked(pack: Callable[..., Path], tmp_path: Path) -> None:
    path = pack(GOOD | {"zeros": bytes(20_000_000)}, tmp_path / "a")
    assert path.stat().st_size < 100_000
    with pytest.raises(OriginalError, match="is refused: it unpacks to more than"):
        opened(path)


def test_a_member_too_large_for_any_model_is_refused(tmp_path: Path) -> None:
    """The header alone claims it: there need be no such bytes."""
    info = tarfile.TarInfo("large")
    info.size = 5 << 30
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf() + random.Random(0).randbytes(1_000_000)))
    with pytest.raises(OriginalError, match="'large' claims 5,368,709,120 bytes; expected at most 1,073,741,824"):
        opened(path)


def test_a_small_file_that_is_large_is_refused(tmp_path: Path) -> None:
    path = zipped(GOOD | {f"{FOLDER}/seed_training": random.Random(0).randbytes(70_000)}, tmp_path / "a.zip")
    with pytest.raises(OriginalError, match="seed_training: expected at most 65,536 bytes, got more"):
        opened(path)


@pytest.mark.parametrize("source", [PURCHASE, SST2])
def test_a_truncated_archive_is_refused_with_what_was_expected(source: Path, tmp_path: Path) -> None:
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes()[:-70_000])
    with pytest.raises(OriginalError, match=f"expected md5 {md5(source)}, got {md5(path)}"):
        Archive(path, md5(source)).listing("cifar10_lo")
    with pytest.raises(OriginalError, match=r"expected a whole \.zip or \.tar\.gz, got a damaged or truncated one"):
        opened(path)


def test_an_archive_of_the_competitions_name_must_be_the_competitions(tmp_path: Path) -> None:
    with pytest.raises(OriginalError, match="expected md5 67eba1f88d112932fe722fef85fb95fd, got "):
        Archive(PURCHASE).listing("purchase100_inf")
    unknown = zipped(GOOD, tmp_path / "mine.zip")
    with pytest.raises(
        OriginalError,
        match=r"expected one of the competition's archives under its own name \(cifar10.zip, .*mine.zip@MD5",
    ):
        original.parse(str(unknown))
    with pytest.raises(FileNotFoundError, match="no archive"):
        original.parse(str(tmp_path / "cifar10.zip"))


def test_a_changed_archive_is_checked_again(tmp_path: Path) -> None:
    path = zipped(GOOD, tmp_path / "a.zip")
    first = opened(path).md5
    zipped(made("cifar10_lo", {"dev": [100]}), path)
    with pytest.raises(OriginalError, match=f"expected md5 {first}"):
        Archive(path, first).listing("cifar10_lo")


def test_a_tar_is_read_from_end_to_end_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tarred(GOOD, tmp_path / "a.tar.gz")
    opened(path)
    monkeypatch.setattr(Archive, "_make_index", lambda _: pytest.fail("read again"))
    assert {entry.size for entry in opened(path).listing("cifar10_lo")} == {2, 50_000}
    assert original.parse(named(path)) is not None


def test_tarfiles_data_filter_lets_through_what_is_refused_here() -> None:
    """It makes members harmless to unpack under their names, which nothing here does; and zip files have none."""
    names = ["/etc/passwd", "a\\..\\..\\b", "C:/windows/system.ini"]
    passed = [tarfile.data_filter(tarfile.TarInfo(name), "/somewhere") for name in names]
    assert [info.name for info in passed] == ["etc/passwd", *names[1:]]
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.GNUTYPE_SPARSE):
        info = tarfile.TarInfo(f"{FOLDER}/seed_training")
        info.type, info.linkname = kind, f"{FOLDER}/seed_challenge"
        assert tarfile.data_filter(info, "/somewhere").type == kind
