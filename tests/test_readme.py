"""README's road from a file of Keras 3 and a folder of photographs to a verified bundle, in the commands it prints."""

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
PYTHON = ".venv/bin/python -m envise_tf."


def commands_of(title: str) -> list[list[str]]:
    """The words of each command that README prints below a title, from the name of the command on."""
    section = README.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = re.findall(r"^    (.+)$", section.replace("\\\n", ""), re.MULTILINE)
    assert all(line.startswith(PYTHON) for line in lines)
    return [shlex.split(line.removeprefix(PYTHON)) for line in lines]


def run(command: str, *words: str) -> None:
    module = importlib.import_module(f"envise_tf.{command}")
    (module if hasattr(module, "main") else importlib.import_module(f"envise_tf.{command}.__main__")).main(words)


def test_a_keras_3_file_and_photographs_become_a_verified_bundle(
    keras3_mobilenet: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("my.keras", "names.txt", "photos"):
        Path(name).symlink_to(keras3_mobilenet / name)
    commands = commands_of("Your own teacher and photographs")
    assert [command for command, *_ in commands] == ["convert", "train", "export", "export.verify", "stream"]
    for command in commands[:-1]:
        # As printed, but for the length of the training.
        run(*command, *(["--windows", "1"] if command[0] == "train" else []))
    said = capsys.readouterr().out
    assert "same class on 100.0 % of 512" in said
    assert (
        "about 266 of some 2,000 distinct images test the promise, which takes at least 154 for a loss of 2 %" in said
    )
    assert "promise: answers are right at most 2 % less often than the teacher's" in said
    assert "bundle: 5 files whole, 32 golden images reproduced" in said
    assert Path("runs/mine/report.html").is_file()
    found = json.loads(Path("runs/mine/result.json").read_text())["class_names"]
    assert set(found) <= {f"digit {number}" for number in range(10)}
    assert len(found) >= 8
