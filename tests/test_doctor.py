"""`mico-hub doctor` and `mico-hub completion`."""

import shutil
import subprocess
from pathlib import Path

import pytest
from loopback_hub import LoopbackHub

from mico_hub.cli import main
from mico_hub.suites import SUITES


def test_it_says_what_is_at_hand_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MICO_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MICO_HUB_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("mico_hub.cli.doctor.find_spec", lambda name: None if name == "ray" else True)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    lines = [line.split(maxsplit=1) for line in out.splitlines()]
    assert "missing: ray" in out
    assert "to do: pip install 'mico-hub[ray]'" in out
    assert "no such folder" in out
    assert ["Hub", "not asked: HF_HUB_OFFLINE is set"] in lines
    assert "digits (3)" in out


def test_it_asks_the_hub(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with LoopbackHub() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        assert main(["doctor"]) == 0
        assert f"{hub.url} answers" in capsys.readouterr().out
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert main(["doctor"]) == 0
    assert "to do: check the network, HTTPS_PROXY, HF_ENDPOINT" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_options_and_suites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    (tmp_path / "complete.sh").write_text(capsys.readouterr().out)
    asked = """
        source complete.sh
        try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _shtab_mico_hub; echo "${COMPREPLY[@]}"; }
        try mico-hub attack digits_
        try mico-hub attack digits_hi --att
        try mico-hub au
    """
    done = subprocess.run(["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True)
    suites, options, commands = done.stdout.splitlines()
    assert suites.split() == [name for name in SUITES if name.startswith("digits_")]
    assert options == "--attack"
    assert commands.split() == ["audit", "audit-engine", "audit-scores"]
