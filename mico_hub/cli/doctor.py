"""`mico-hub doctor` and `mico-hub completion`: what is at hand, what is missing for what, and the shell."""

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

import mico_hub
from mico_hub.cache import cache_dir
from mico_hub.data import DATA_VARIABLE
from mico_hub.messages import EXTRAS
from mico_hub.suites import SUITES, tracks

FOR = {
    "models": "models, white-box attacks",
    "train": "training",
    "audit": "audits",
    "report": "reports, figures",
    "board": "a live board",
    "ray": "training on a Ray cluster",
}
"""Extra -> what for."""

REQUIRED = ("datasets", "evaluate", "huggingface-hub", "numpy", "safetensors")
HUB_SECONDS = 5.0  # that the Hub may take to answer


def doctor(options: argparse.Namespace) -> None:
    """Prints what is installed and at hand, and what is missing for what."""
    found = [*_installed(), *_extras(), _device(), _cache(), _data(), _hub(), _suites()]
    width = max(len(what) for what, _, _ in found) + 2
    for what, state, advice in found:
        sys.stdout.write(f"{what:{width}}{state}\n" + (f"{'':{width}}to do: {advice}\n" if advice else ""))


def completion(options: argparse.Namespace) -> None:
    """Prints what makes a shell complete commands, options and suites."""
    import shtab

    from mico_hub.cli import parser

    made = parser()
    shtab_names = {"bash": "_mico_hub_suites", "zsh": f"({' '.join(SUITES)})"}
    for action in _actions(made):
        if action.metavar in ("SUITE", "SUITE|TRACK"):
            action.complete = shtab_names  # type: ignore[attr-defined]
        elif action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    names = f"_mico_hub_suites() {{ compgen -W '{' '.join(SUITES)}' -- \"$1\"; }}"
    sys.stdout.write(shtab.complete(made, options.shell, preamble=names if options.shell == "bash" else "") + "\n")


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _actions(below)
        else:
            yield action


Line = tuple[str, str, str]


def _installed() -> Iterator[Line]:
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield "mico-hub", f"{mico_hub.__version__}, {system}", ""
    yield "packages", ", ".join(f"{name} {version(name)}" for name in REQUIRED), ""


def _extras() -> Iterator[Line]:
    named = packages_distributions()
    for extra, what in FOR.items():
        packages = [name for name, of in EXTRAS.items() if of == extra and name != "starlette"]
        missing = [name for name in packages if find_spec(name) is None]
        installed = [f"{named[name][0]} {version(named[name][0])}" if name in named else name for name in packages]
        state = f"missing: {', '.join(missing)}" if missing else ", ".join(installed)
        yield f"for {what}", state, f"pip install 'mico-hub[{extra}]'" if missing else ""


def _device() -> Line:
    if find_spec("torch") is None:
        return "device", "none without torch", ""
    import torch

    from mico_hub.models import default_device

    device = default_device()
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{os.cpu_count()} cores"
    return "device", f"{device}, {name}", ""


def _cache() -> Line:
    folder = cache_dir()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    free = shutil.disk_usage(there).free
    state = f"{folder}, {size / 1e9:.1f} GB; {free / 1e9:,.0f} GB free"
    if os.access(there, os.W_OK):
        return "cache", state, ""
    return "cache", f"{state}; not writable", "set MICO_HUB_CACHE to a folder that is"


def _data() -> Line:
    given = os.environ.get(DATA_VARIABLE)
    if not given:
        return (
            "base datasets",
            "digits; others from the Hub as far as it has them",
            f"{DATA_VARIABLE}=FOLDER for files of your own",
        )
    folder = Path(given).expanduser()
    if not folder.is_dir():
        return "base datasets", f"{DATA_VARIABLE}={given}: no such folder", "name one that is there"
    return "base datasets", f"digits; in {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}", ""


def _hub() -> Line:
    from huggingface_hub import constants, get_session, get_token

    if constants.HF_HUB_OFFLINE:
        return "Hub", "not asked: HF_HUB_OFFLINE is set", ""
    token = "with a token" if get_token() else "without a token"
    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS)
    except Exception as error:  # whatever the client raises: it is shown, and the other lines are, too
        return "Hub", f"{constants.ENDPOINT}: {type(error).__name__}", "check the network, HTTPS_PROXY, HF_ENDPOINT"
    return "Hub", f"{constants.ENDPOINT} answers, {token}", ""


def _suites() -> Line:
    from mico_hub import sources

    available = set(sources.available())
    by_track = {name: [suite.name for suite in suites if suite.name in available] for name, suites in tracks().items()}
    others = sorted(available - set(SUITES))
    return (
        "suites",
        ", ".join(f"{name} ({len(names)})" for name, names in by_track.items() if names)
        + "".join(f", {name}" for name in others),
        "",
    )
