"""Jobs that follow one another: what two have in common is found once, and nothing else is shared."""

from pathlib import Path

import pytest
from made_run import made_settings

from envise_tf.errors import UserError
from envise_tf.runs.job import found_adaptation, found_job
from envise_tf.runs.jobs import Jobs

pytestmark = pytest.mark.slow


def test_another_student_shares_images_teacher_and_adaptation():
    jobs = Jobs()
    first = jobs.found(made_settings(Path("first")))
    adaptation = jobs.adaptation(first)
    other = made_settings(Path("other"), learning_rate=0.5, objectives={"hard_label": {"weight": 2.0}})
    second = jobs.found(other)
    assert second.settings == other
    assert list(second.objectives) == ["hard_label"]
    assert second.teacher is first.teacher
    assert second.stream is first.stream
    assert jobs.adaptation(second) is adaptation
    assert adaptation.as_dict() == found_adaptation(found_job(other)).as_dict()
    with pytest.raises(UserError, match="no objective is given"):
        jobs.found(made_settings(Path("third"), objectives={}))


@pytest.mark.parametrize("change", [{"seed": 1}, {"outlier_rate": 0.2}], ids=str)
def test_other_images_or_another_adaptation_are_found_anew(change):
    jobs = Jobs()
    adaptation = jobs.adaptation(jobs.found(made_settings(Path("first"))))
    job = jobs.found(made_settings(Path("other"), **change))
    assert job.stream.seed == change.get("seed", 0)
    again = jobs.adaptation(job)
    assert again is not adaptation
    assert again.as_dict() == found_adaptation(job).as_dict()
