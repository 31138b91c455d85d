import sys

import pytest

from envise_tf.cli import COMMANDS, main


def test_help_lists_every_command(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["envise"])
    main()
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_gets_the_rest_of_the_words(command, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["envise", command, "--nonsense", "1"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "--nonsense" in error
    assert f"python -m envise_tf.{command} --help" in error


def test_a_misspelt_command_gives_the_nearest(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["envise", "tran"])
    with pytest.raises(SystemExit):
        main()
    assert "nearest: train" in capsys.readouterr().err
