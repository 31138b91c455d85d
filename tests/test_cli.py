import importlib
import sys

import pytest
from commands import error_line

from envise_tf import __version__
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


def test_the_version_is_that_of_the_package(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["envise", "--version"])
    main()
    assert capsys.readouterr().out == f"envise-tf {__version__}\n"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train", ["--preset", "digits"]),
        ("teach", ["--preset", "digits-disjoint"]),
        ("stream", ["--preset", "digits"]),
        ("tuning", ["--preset", "digits", "--space", "distillation"]),
        ("convert", ["teacher.keras"]),
        ("export", ["runs/digits"]),
        ("export.classify", ["bundles/digits", "photo.jpg"]),
        ("export.benchmark", ["bundles/digits"]),
    ],
)
@pytest.mark.parametrize("place", ["file/out", "/proc/out", "n" * 300])
def test_a_place_that_cannot_be_written_is_told_in_one_line(command, words, place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    module = importlib.import_module(f"envise_tf.{command}" if "." in command else f"envise_tf.{command}.__main__")
    line = error_line(capsys, module.main, [*words, "--out", place])
    assert place in line
    assert "choose another --out" in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_misspelt_command_gives_the_nearest(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["envise", "tran"])
    with pytest.raises(SystemExit):
        main()
    assert "nearest: train" in capsys.readouterr().err
