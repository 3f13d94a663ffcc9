import errno
import os
import re
from pathlib import Path

import pytest

from mico_hub.cache import DiskError, atomic_path, atomic_write, cache_dir, writable


def test_the_environment_names_the_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICO_HUB_CACHE", "~/elsewhere")
    assert cache_dir() == Path.home() / "elsewhere"
    monkeypatch.setenv("MICO_HUB_CACHE", "")
    assert cache_dir() == Path.home() / ".cache" / "mico-hub"


def test_a_file_is_written_whole_and_its_folder_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.bin"
    atomic_write(path, b"first")
    atomic_write(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "b.bin"
    atomic_write(path, b"old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary.suffix == ".bin"
            temporary.write_bytes(b"half")
            assert path.read_bytes() == b"old"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def fill(path: Path) -> None:
    with atomic_path(path, 123_456) as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_bytes(b"x")


def test_a_full_disk_says_where_how_much_and_what_to_do(tmp_path: Path, fresh_cache: Path) -> None:
    """Writing to /dev/full fails as on a full disk."""
    for path, advice in (
        (fresh_cache / "a.bin", "set MICO_HUB_CACHE to a folder"),
        (tmp_path / "b.bin", "name a folder"),
    ):
        with pytest.raises(DiskError) as caught:
            fill(path)
        message = (
            rf"{path}: the disk is full, 123,456 bytes are needed and [\d,]+ are free; make room there, or {advice} "
        )
        assert re.match(message, str(caught.value))
        assert caught.value.transient
        assert not list(path.parent.glob(".*"))


@pytest.mark.parametrize("variable", ["MICO_HUB_CACHE", "HF_HOME", "HF_DATASETS_CACHE", "HF_HUB_CACHE"])
def test_a_folder_that_cannot_be_written_names_its_setting(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(variable, str(tmp_path / "file" / "cache"))
    path = tmp_path / "file" / "cache" / "sub" / "a.bin"
    with pytest.raises(DiskError, match=f"cannot be written .*; set {variable} to a folder elsewhere"):
        atomic_write(path, b"x")


def test_other_failures_stay_what_they_are(tmp_path: Path) -> None:
    for error in (FileNotFoundError("x"), OSError(errno.EIO, os.strerror(errno.EIO)), DiskError("mine")):
        with pytest.raises(type(error)) as caught, writable(tmp_path / "a"):
            raise error
        assert caught.value is error
    other = PermissionError(errno.EACCES, "Permission denied", "/etc/shadow")
    with pytest.raises(PermissionError) as denied, writable(tmp_path / "a"):
        raise other
    assert denied.value is other
