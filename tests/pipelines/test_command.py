import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from pipelines.engine.command import run_command
from pipelines.engine.log import Log


def die_in_a_process():
    with ProcessPoolExecutor(1) as pool:
        pool.submit(os._exit, 1).result()


def open_what_is_not_there():
    open("/nowhere/at/all").close()


def refuse():
    raise LookupError("There is no such thing: name another.")


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (die_in_a_process, "a process was ended from outside, perhaps for want of memory: give fewer --workers."),
        (open_what_is_not_there, "No such file or directory (/nowhere/at/all): look elsewhere."),
        (refuse, "There is no such thing: name another."),
    ],
)
def test_an_error_of_the_user_is_one_sentence_and_a_status(work, words, capsys):
    assert run_command(work, LookupError, remedy="look elsewhere") == 1
    assert capsys.readouterr().err == f"error: {words}\n"
    assert run_command(work, LookupError, log=Log(as_json=True)) == 1
    assert '"event": "error"' in capsys.readouterr().err


def test_what_was_not_foreseen_is_raised():
    with pytest.raises(LookupError):
        run_command(refuse, ValueError)


def test_a_command_returns_its_own_status():
    assert run_command(lambda: None) == 0
    assert run_command(lambda: 3) == 3
