import argparse

import pytest

from mico_hub.cli import frame
from mico_hub.data import DataError
from mico_hub.messages import InputError
from mico_hub.workers import WorkerError

KEPT = "All is kept; resume with the same command."


def run(error: BaseException | None, code: int | None = None, kept: str = KEPT) -> int:
    def work(_: object) -> int | None:
        if error is not None:
            raise error
        return code

    parser = frame.script("Does nothing.", work, kept)
    parser.prog = "nothing.py"
    return frame.run(parser, [])


@pytest.mark.parametrize("code", [None, 0, 3])
def test_the_exit_code_is_that_of_the_work(code: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(None, code) == (code or 0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [InputError("x"), DataError("x"), FileNotFoundError("x")])
def test_bad_input_is_explained(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(error) == 2
    assert capsys.readouterr().err == "nothing: x\n"


@pytest.mark.parametrize("error", [WorkerError("x"), OSError("x"), ConnectionError("x")])
def test_what_may_succeed_later_says_how_to_resume(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(error) == 2
    assert capsys.readouterr().err == f"nothing: x\n{KEPT}\n"
    assert run(error, kept="") == 2
    assert capsys.readouterr().err == "nothing: x\n"


@pytest.mark.parametrize(("kept", "message"), [(KEPT, f"interrupted. {KEPT}"), ("", "interrupted")])
def test_an_interruption_says_what_is_kept(kept: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(KeyboardInterrupt(), kept=kept) == 130
    assert capsys.readouterr().err == f"\nnothing: {message}\n"


@pytest.mark.parametrize("anything", [0, 1])
def test_what_is_kept_is_said_where_something_is(anything: int, capsys: pytest.CaptureFixture[str]) -> None:
    for error, before in ((OSError("x"), "nothing: x"), (KeyboardInterrupt(), "interrupted")):

        def work(options: argparse.Namespace, error: BaseException = error) -> None:
            with frame.keeping(options, lambda: anything):
                raise error

        parser = frame.script("Does nothing.", work, KEPT)
        parser.prog = "nothing.py"
        assert frame.run(parser, []) in (2, 130)
        err = capsys.readouterr().err
        assert before in err
        assert (KEPT in err) == bool(anything)


def test_a_mistake_of_ours_is_a_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(ZeroDivisionError())
