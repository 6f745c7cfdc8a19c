"""Command lines: what the input caused is one line on stderr and exit code 2; what we caused stays a traceback."""

from __future__ import annotations

import errno
import os
import types
from collections.abc import Callable

import pytest

from model.cli import run_command
from model.errors import EpisodeError

Run = Callable[[BaseException | None], int]
COMMANDS = {"work": ("work_of_a_test", "does it")}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command whose module raises what it is given, or returns 7."""

    def run_it(error: BaseException | None) -> int:
        def main(argv: list[str]) -> int:
            assert argv == ["--flag"]
            if error is not None:
                raise error
            return 7

        module = types.SimpleNamespace(main=main)
        monkeypatch.setattr("model.cli.importlib.import_module", lambda name: {"work_of_a_test": module}[name])
        return run_command("program", COMMANDS, ["work", "--flag"])

    return run_it


def test_the_exit_code_is_the_command_s(run: Run) -> None:
    assert run(None) == 7


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (EpisodeError("a#0: no depth"), "error: a#0: no depth\n"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/x"), "error: out/x: No space left on device\n"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), "error: work: Input/output error\n"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    run: Run, capsys: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    assert run(error) == 2
    assert capsys.readouterr().err == line


def test_a_fault_of_ours_is_not_hidden(run: Run) -> None:
    with pytest.raises(ZeroDivisionError):
        run(ZeroDivisionError())


def test_an_unknown_command_and_none_list_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("program", COMMANDS, ["other"]) == 2
    assert "unknown command 'other'; choose one of work" in capsys.readouterr().err
    assert run_command("program", COMMANDS, []) == 2
    assert run_command("program", COMMANDS, ["--help"]) == 0
    assert capsys.readouterr().out.count("work  does it") == 2
