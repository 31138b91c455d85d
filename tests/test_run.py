import os

import pytest

from envise_tf.errors import UserError
from envise_tf.run import Run, provenance
from envise_tf.settings import TrainSettings, settings_of_run


def test_a_planned_run_writes_nothing_until_it_begins(tmp_path):
    settings = TrainSettings(out=str(tmp_path / "a" / "run"))
    run = Run.planned(settings, "train")
    assert list(tmp_path.iterdir()) == []
    run.begin(settings)
    assert run.settings_file.is_file()


def test_a_folder_with_a_run_is_refused(tmp_path):
    settings = TrainSettings(out=str(tmp_path))
    Run.planned(settings, "train").begin(settings)
    with pytest.raises(UserError, match="--resume"):
        Run.planned(settings, "train")


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        Run.planned(TrainSettings(out=str(tmp_path / "file" / "run")), "train")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(UserError, match="permission"):
        Run.planned(TrainSettings(out=str(tmp_path / "closed" / "run")), "train")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    run = Run(tmp_path)
    run.write_json("result.json", {"agreement": 0.5})
    with pytest.raises(TypeError):
        run.write_json("result.json", {"agreement": object()})
    assert run.read_json("result.json") == {"agreement": 0.5}
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_the_log_forgets_windows_after_the_checkpoint(tmp_path):
    run = Run(tmp_path)
    assert run.log(5) == []
    run.write_log([{"window": i, "loss": 1.0 / (i + 1)} for i in range(4)])
    assert [entry["window"] for entry in run.log(2)] == [0, 1]


def test_provenance_names_versions_commit_machine_and_date():
    found = provenance()
    assert found["versions"]["tensorflow"].startswith("2.16")
    assert set(found) == {"versions", "git_commit", "machine", "date"}


def test_a_run_keeps_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "data"):
        (tmp_path / name).mkdir()
    settings = TrainSettings(source="digits", stream="photos", data_dir="data", out="run")
    Run.planned(settings, "train").begin(settings)
    monkeypatch.chdir("/")
    found = settings_of_run(TrainSettings, str(tmp_path / "run"))
    assert (found.source, found.stream, found.data_dir) == ("digits", f"{tmp_path}/photos", f"{tmp_path}/data")


def test_a_run_that_another_process_has_begun_meanwhile_is_not_written_to(tmp_path):
    settings = TrainSettings(out=str(tmp_path / "run"))
    run = Run.planned(settings, "train")
    run.begin(settings)
    with pytest.raises(UserError, match=r"already holds a run: resume it with --resume"), run.held(resumed=False):
        pass
    with run.held(resumed=True), pytest.raises(UserError, match="held by process"), run.held(resumed=True):
        pass
    assert [path.name for path in run.folder.iterdir()] == ["settings.yaml"]


def test_a_run_that_was_held_and_not_written_leaves_no_folder(tmp_path):
    run = Run(tmp_path / "run")
    with run.held(resumed=False):
        assert run.folder.is_dir()
    assert list(tmp_path.iterdir()) == []
