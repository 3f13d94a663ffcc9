"""What can be asked of `mico-hub`: every command with its arguments. What a command does is imported when it runs."""

import argparse
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from mico_hub.cli.frame import Commands, add_command, add_data, add_group, add_source, add_split, add_suites
from mico_hub.suites import SPLITS, tracks

_TRUTH = (
    "hidden membership: the folder of suites, a suite's folder or its private part, or a copy of org/mico-truth "
    "(default: the cache, for a suite that was trained there)"
)


def add_commands(commands: Commands) -> None:
    """Adds all commands."""
    for name, summary in (("suites", "lists the suites"), ("attacks", "lists the reference attacks")):
        made = add_command(commands, name, f"lists:{name}", summary, f"{name} --markdown")
        made.add_argument("--markdown", action="store_true", help="as a Markdown table")

    add_command(
        commands, "doctor", "doctor:doctor", "says what is installed and at hand, and what is missing", "doctor"
    )
    example = "completion bash > ~/.local/share/bash-completion/completions/mico-hub"
    made = add_command(commands, "completion", "doctor:completion", "completes commands in a shell", example)
    made.add_argument("shell", choices=("bash", "zsh", "tcsh"))

    made = add_command(
        commands,
        "fetch",
        "fetch:fetch",
        "brings a suite's rows and checkpoints here",
        "fetch cifar10_hi --split dev",
        "What was fetched is kept; resume with the same command.",
    )
    made.add_argument("suite", metavar="SUITE")
    add_split(made)
    add_source(made)

    _add_attack(commands)

    example = "score predictions --suite digits_hi --html report.html"
    made = add_command(commands, "score", "score:score", "scores predictions", example)
    made.add_argument(
        "predictions",
        type=Path,
        nargs="+",
        metavar="PREDICTIONS",
        help="a zip, a Parquet file or a folder; several are compared",
    )
    made.add_argument("--suite", required=True, help="a suite, or a track for all of its suites")
    made.add_argument("--truth", type=Path, help=_TRUTH)
    _add_exports(made)
    add_split(made)
    add_source(made)

    example = "check-submission out.zip --track digits"
    summary = "checks predictions for a track, without the answers"
    made = add_command(commands, "check-submission", "score:check_submission", summary, example)
    made.add_argument("file", type=Path, metavar="SUBMISSION", help="a zip, a Parquet file or a folder")
    made.add_argument("--track", choices=tuple(tracks()), required=True, help="whose suites it must be complete for")
    _add_splits(made, None, "those that it has")
    made.add_argument("--source", help="where the suites are, for fingerprints and trials (default: the table alone)")

    made = add_command(
        commands,
        "open",
        "fetch:open_truth",
        "checks a truth that was shown",
        "open cifar10_hi-dev.json --source org/mico",
    )
    made.add_argument("opening", type=Path, metavar="OPENING", help="the file that opens a split's commitment")
    add_source(made)

    _add_boards(commands)
    _add_submit(commands)
    _add_exports_for_platforms(commands)
    _add_audits(commands)

    made = add_command(
        commands,
        "train",
        "watched:train",
        "trains suites into folders",
        "train purchase100_hi --models 4/2/2 --data DATA",
        "Finished models are kept; resume with the same command.",
    )
    made.add_argument("suites", nargs="+", metavar="SUITE")
    made.add_argument("--models", type=parse_models, metavar="T/D/F", help="fewer models, for a trial")
    add_suites(made, "--out")
    add_data(made)
    made.add_argument("--pretrained", help="folder or Hub model that text models start from")
    _add_workers(made)
    _add_runtime(made)

    made = add_command(
        commands,
        "signals",
        "watched:signals",
        "computes what attacks need of trained suites",
        "signals suites/cifar10_hi --signals loss margin --data DATA",
        "What is done is kept; resume with the same command.",
    )
    made.add_argument("suites", nargs="+", type=Path, metavar="FOLDER", help="suite folders, complete")
    made.add_argument("--signals", nargs="+", metavar="NAME", help="such as loss and margin (default: all)")
    add_data(made)
    _add_workers(made)


def _add_attack(commands: Commands) -> None:
    """What attacks are run, on what, and where models of the targets' own are trained."""
    made = add_command(
        commands,
        "attack",
        "watched:attack",
        "runs a reference attack",
        "attack digits_hi --attack lira --out predictions",
    )
    made.add_argument("suite", metavar="SUITE|TRACK")
    made.add_argument(
        "--attack",
        action=Extend,
        default=["lira"],
        metavar="NAME|FILE.py|all",
        help="one that `mico-hub attacks` lists, a file with a function score(evidence), or all that train no models; "
        "several with commas, or by several such options (default: lira)",
    )
    made.add_argument(
        "--out",
        type=Path,
        help="writes <out>/<track>/<suite>/<split>/model_N/prediction.csv; of several, below <out>/<attack>",
    )
    made.add_argument("--zip", type=Path, metavar="FILE.zip", help="writes the same as one zip; of one attack")
    _add_exports(made)
    _add_splits(made, [SPLITS[0]], SPLITS[0])
    add_source(made)
    made.set_defaults(device=None)
    _add_processes(made, "of an attack that trains models: targets at a time (default: one a core)")


def _add_boards(commands: Commands) -> None:
    """Where attacks are ranked in public."""
    boards = add_group(commands, "board", "boards on which attacks are ranked")
    _add_live_board(boards)
    open_board = add_group(boards, "open", "a board on the train models, of which everybody knows the truth")

    summary = "scores predictions and adds them as an entry"
    made = add_command(open_board, "add", "board:add", summary, "board open add out.zip --attack mine.py")
    made.add_argument("file", type=Path, metavar="PREDICTIONS", help="a zip, a Parquet file or a folder")
    made.add_argument("--code", metavar="URL", help="where the attack's code is")
    made.add_argument("--attack", type=Path, metavar="FILE.py", help="the attack, kept beside: it can be run again")
    made.add_argument("--write-up", metavar="URL|FILE.md", help="what it does")
    made.add_argument("--name", help="of the entry (default: the file's)")
    made.add_argument("--title", help="for people (default: the attack's)")
    made.add_argument("--threat-model", choices=("black-box", "white-box"), help="(default: as the attack asks for)")
    made.add_argument("--tag", action="append", help="a word on it; may be given several times")
    made.add_argument("--track", choices=tuple(tracks()), help="(default: the one that it has predictions for)")
    _add_board(made)
    add_source(made)

    summary = "runs reference attacks and adds them as entries"
    example = "board open references digits --attack loss,lira"
    made = add_command(open_board, "references", "board:references", summary, example)
    made.add_argument("track", choices=tuple(tracks()), metavar="TRACK")
    made.add_argument(
        "--attack",
        action=Extend,
        default=["loss,rmia,lira"],
        metavar="NAME",
        help="as `attack` takes them (%(default)s)",
    )
    _add_board(made)
    add_source(made)

    summary = "scores all entries again, without running anything of theirs"
    made = add_command(open_board, "check", "board:check", summary, "board open check --source mico")
    _add_board(made)
    add_source(made)

    summary = "runs an entry's attack again, which runs its code"
    made = add_command(open_board, "reproduce", "board:reproduce", summary, "board open reproduce digits/mine")
    made.add_argument("name", metavar="TRACK/NAME")
    _add_board(made)
    add_source(made)

    made = add_command(open_board, "render", "board:render", "makes its page", "board open render --out site")
    made.add_argument("--out", type=Path, default=Path("site"), help="folder of the page (default: %(default)s)")
    made.add_argument("--title", default="MICO, open board", help="of the page (default: %(default)s)")
    _add_board(made)


def _add_live_board(boards: Commands) -> None:
    """A board with hidden truth."""
    example = "board serve --truth suites --source mico --rules board.toml"
    made = add_command(boards, "serve", "live:serve", "serves a live board with hidden truth", example)
    made.add_argument("--truth", type=Path, help="hidden membership, needed when a season begins: " + _TRUTH[19:])
    made.add_argument("--source", help="where the suites are (default: wherever `mico` is)")
    made.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    made.add_argument("--port", type=parse_count, default=8000, help="(default: %(default)s)")
    made.add_argument("--judges", type=parse_count, default=2, help="submissions scored at once (default: %(default)s)")
    _add_store(made)

    group = add_group(boards, "participants", "who may submit to a live board")
    made = add_command(
        group, "add", "live:participants_add", "adds one, prints the token", "board participants add NAME"
    )
    made.add_argument("name", metavar="NAME")
    _add_store(made)
    example = "board participants revoke NAME"
    made = add_command(group, "revoke", "live:participants_revoke", "ends a token; submissions stay", example)
    made.add_argument("name", metavar="NAME")
    _add_store(made)
    made = add_command(group, "list", "live:participants_list", "lists them", "board participants list")
    _add_store(made)

    group = add_group(boards, "phase", "ends dev, shows final")
    summary = "closes dev: curves, intervals and all scores are shown"
    made = add_command(group, "close", "live:phase_close", summary, "board phase close digits")
    made.add_argument("track", choices=tuple(tracks()), metavar="TRACK")
    _add_store(made)
    summary = "scores everybody on final, once, and shows it"
    made = add_command(group, "open", "live:phase_open", summary, "board phase open digits --truth suites")
    made.add_argument("track", choices=tuple(tracks()), metavar="TRACK")
    made.add_argument("--truth", type=Path, help="(default: the season's)")
    _add_store(made)

    made = add_command(boards, "backup", "live:backup", "all that a board keeps, in one file", "board backup board.zip")
    made.add_argument("out", type=Path, metavar="FILE.zip")
    _add_store(made)
    made = add_command(boards, "restore", "live:restore", "a board from a backup", "board restore board.zip")
    made.add_argument("backup", type=Path, metavar="FILE.zip")
    _add_store(made)
    summary = "what everybody may see, as Parquet and JSON"
    made = add_command(boards, "export", "live:export", summary, "board export --out results")
    made.add_argument("--out", type=Path, default=Path("results"), help="folder (default: %(default)s)")
    _add_store(made)


def _add_submit(commands: Commands) -> None:
    """To a live board."""
    summary = "sends predictions to a live board and waits for the score; the token is in MICO_HUB_TOKEN"
    example = "submit out.zip --to https://board.example.org --track digits"
    made = add_command(commands, "submit", "live:submit", summary, example)
    made.add_argument("file", type=Path, metavar="FILE.zip", help="a zip with all suites of the track")
    made.add_argument("--to", required=True, metavar="URL", help="the board")
    made.add_argument("--track", default="digits", help="(default: %(default)s)")
    made.add_argument("--title", help="of the attack, on the board")
    made.add_argument("--threat-model", choices=("black-box", "white-box"), default="black-box", help="(%(default)s)")
    made.add_argument("--tag", action="append", help="a word of the board's; may be given several times")
    made.add_argument("--code", metavar="URL", help="where the attack's code is")
    made.add_argument("--write-up", metavar="URL", help="what it does")


def _add_store(parser: argparse.ArgumentParser) -> None:
    """`--data` and `--rules`."""
    described = "the board's data: a file, or hf://datasets/ORG/NAME, private (default: %(default)s)"
    parser.add_argument("--data", default="board.sqlite", metavar="DATA", help=described)
    parser.add_argument("--rules", type=Path, metavar="FILE.toml", help="(default: the competition's)")


def _add_exports_for_platforms(commands: Commands) -> None:
    """What other platforms take."""
    exports = add_group(commands, "export", "what other platforms take")

    summary = "a competition for Codabench, with the truth of its phases: for organisers alone"
    example = "export codabench --track digits --truth suites --out bundle.zip"
    made = add_command(exports, "codabench", "export:codabench", summary, example)
    made.add_argument("--track", choices=tuple(tracks()), required=True)
    made.add_argument("--truth", type=Path, help=_TRUTH)
    made.add_argument("--out", type=Path, default=Path("bundle.zip"), help="the bundle (default: %(default)s)")
    made.add_argument("--start", type=parse_time, metavar="TIME", help="YYYY-MM-DD[ HH:MM:SS], UTC (default: today)")
    made.add_argument(
        "--final",
        nargs="?",
        type=parse_time,
        const=True,
        metavar="TIME",
        help="with a final phase from then on (default: 90 days later), and its truth (default: dev alone)",
    )
    described = "reference attacks that go into it as solutions, with commas; may be empty (default: %(default)s)"
    made.add_argument("--baselines", default="loss,lira", metavar="NAMES", help=described)
    add_source(made)

    summary = "an attack's .eval_results for the Hub's own boards"
    example = "export eval-results lira --suite digits_hi --dataset org/mico --out repository"
    made = add_command(exports, "eval-results", "export:eval_results", summary, example)
    made.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="a zip, a Parquet file or a folder")
    made.add_argument("--suite", required=True, help="a suite, or a track for all of its suites")
    made.add_argument("--truth", type=Path, help=_TRUTH)
    made.add_argument("--dataset", metavar="ORG/NAME[@REVISION]", help="on the Hub (default: where the suite was read)")
    made.add_argument("--source-url", metavar="URL", help="where the attack is explained, or its output kept")
    made.add_argument("--out", type=Path, default=Path(), help="folder of the attack's repository (default: here)")
    add_split(made)
    add_source(made)


def _add_board(parser: argparse.ArgumentParser) -> None:
    """`--board`."""
    parser.add_argument("--board", type=Path, default=Path("board"), help="folder of entries (default: %(default)s)")


def _add_audits(commands: Commands) -> None:
    """What certifies epsilon."""
    made = add_command(
        commands,
        "audit",
        "audit:audit",
        "epsilon as an attack shows it",
        "audit digits_hi --split final --truth suites",
    )
    made.add_argument("suite", metavar="SUITE")
    made.add_argument(
        "--attack",
        action=Extend,
        default=["lira"],
        metavar="NAME",
        help="one that `mico-hub attacks` lists; only one, for the best of several is not certified (default: lira)",
    )
    made.add_argument("--truth", type=Path, help=_TRUTH)
    _add_audit_exports(made)
    add_split(made, SPLITS[1:], SPLITS[-1])
    add_source(made)

    made = add_command(
        commands,
        "audit-engine",
        "watched:audit_engine",
        "trains with a record and without it, and certifies epsilon of the training engine",
        "audit-engine digits_hi --canary gradient --runs 2000",
    )
    made.add_argument("suite", metavar="SUITE", help="with DP; its recipe is audited")
    canaries = ("gradient", "crafted", "mislabelled", "blank")
    made.add_argument("--canary", choices=canaries, default="gradient", help="the record (default: %(default)s)")
    made.add_argument("--runs", type=parse_count, default=2_000, help="trainings (default: %(default)s)")
    made.add_argument("--keep", type=Path, metavar="FILE", help="finished trainings; the same command resumes them")
    made.add_argument("--full-batches", action="store_true", help="all records in every step, with the noise for that")
    _add_audit_exports(made)
    add_data(made)
    _add_workers(made)
    _add_runtime(made)

    made = add_command(
        commands,
        "audit-scores",
        "audit:audit_scores",
        "epsilon as anybody's attack on anybody's models shows it",
        "audit-scores scores.csv --design coins --delta 1e-5 --epsilon 4",
    )
    made.add_argument(
        "file",
        type=Path,
        metavar="FILE.csv",
        help="a header and columns membership, score; perhaps model, pair",
    )
    designs = ("pairs", "coins", "one-per-model")
    made.add_argument("--design", choices=designs, required=True, help="how members were drawn")
    made.add_argument("--delta", type=float, required=True, help="of the guarantee that is tested, the claim's")
    made.add_argument("--guesses", type=parse_count, help="fixed beforehand (default: eight are tried)")
    made.add_argument("--epsilon", type=float, help="what is claimed, for the report")
    adjacencies = ("add or remove one", "substitution")
    made.add_argument("--adjacency", choices=adjacencies, default=adjacencies[0], help="of the claim (%(default)s)")
    made.add_argument("--unit", default="record", help="of privacy (default: %(default)s)")
    made.add_argument("--accountant", default="not named", help="that made the claim, for the report")
    made.add_argument("--attack", default="not named", help="that made the scores, for the report")
    _add_audit_exports(made)


class Extend(argparse.Action):
    """Each time the option is given adds to the list; the first time replaces the default."""

    def __call__(self, parser: object, options: argparse.Namespace, values: Any, option: str | None = None) -> None:
        """Adds."""
        earlier = getattr(options, self.dest)
        setattr(options, self.dest, [values] if earlier is self.default else [*earlier, values])


def _add_splits(parser: argparse.ArgumentParser, default: list[str] | None, described: str) -> None:
    """`--split`, of which there may be several."""
    names = ", ".join(SPLITS)
    what = f"which models: {names}, or several with commas (default: {described})"
    parser.add_argument("--split", type=parse_splits, default=default, metavar="SPLIT", help=what)


def _add_exports(parser: argparse.ArgumentParser) -> None:
    """What `cli.exports` writes."""
    parser.add_argument("--html", type=Path, help="writes a report there too, one page that needs no network")
    parser.add_argument("--csv", type=Path, help="writes all scores with their intervals there too, a line an attack")
    parser.add_argument("--json", type=Path, help="the same as JSON")
    parser.add_argument("--latex", type=Path, help="writes the table there too, for a paper (booktabs)")
    parser.add_argument("--figures", type=Path, help="writes the report's pictures into that folder")
    parser.add_argument("--format", choices=("png", "svg", "pdf"), default="png", help="of them (default: %(default)s)")


def _add_audit_exports(parser: argparse.ArgumentParser) -> None:
    """What an audit writes."""
    parser.add_argument("--html", type=Path, help="writes a report there too, one page that needs no network")
    parser.add_argument("--json", type=Path, help="writes the numbers there too")


def _add_runtime(parser: argparse.ArgumentParser) -> None:
    """How models are trained."""
    parser.add_argument(
        "--stack", type=parse_count, help="small models computed as one (default: by size; 256 on a GPU)"
    )
    parser.add_argument("--microbatch", type=parse_count, help="records whose gradients are held at once (default: 16)")


def _add_workers(parser: argparse.ArgumentParser) -> None:
    """Where jobs run: `--device`, and `--processes` or `--ray`."""
    parser.add_argument("--device", help="default: the accelerator, else cpu; with --ray cpu, or cuda for a GPU a job")
    _add_processes(parser, "models at a time (default: one a core; one on a GPU)")


def _add_processes(parser: argparse.ArgumentParser, described: str) -> None:
    """`--processes` or `--ray`."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--processes", type=parse_count, help=described)
    where.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="on a Ray cluster: HOST:PORT of its head, auto, ray://HOST:PORT, or nothing to start one here",
    )


def parse_count(text: str) -> int:
    """A number from 1.

    Raises:
        argparse.ArgumentTypeError: The text is something else.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, got {text!r}")
    return int(text)


def parse_splits(text: str) -> list[str]:
    """`dev,final` -> these splits, each once.

    Raises:
        argparse.ArgumentTypeError: One of them is no split.
    """
    splits = list(dict.fromkeys(text.split(",")))
    if unknown := [split for split in splits if split not in SPLITS]:
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(SPLITS)}, got {', '.join(map(repr, unknown))}")
    return splits


def parse_time(text: str) -> datetime:
    """`2027-03-01` or `2027-03-01 12:00:00`.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S"):
        with suppress(ValueError):
            return datetime.strptime(text, form)
    raise argparse.ArgumentTypeError(f"expected YYYY-MM-DD or 'YYYY-MM-DD HH:MM:SS', UTC, got {text!r}")


def parse_models(text: str) -> tuple[int, int, int]:
    """`4/2/2` -> models in train, dev and final.

    Raises:
        argparse.ArgumentTypeError: It is not three counts, the first at least 1.
    """
    try:
        train, dev, final = map(int, text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected TRAIN/DEV/FINAL, such as 4/2/2, got {text!r}") from None
    if train < 1 or min(dev, final) < 0:
        raise argparse.ArgumentTypeError(f"expected at least one train model and no negative count, got {text!r}")
    return train, dev, final
