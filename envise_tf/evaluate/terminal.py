"""The tables of an evaluation for a terminal."""

from __future__ import annotations

from rich.table import Table

from envise_tf.evaluate.evaluation import Evaluation
from envise_tf.evaluate.verdict import facts, shown_gie
from envise_tf.measures.equal_accuracy import ALLOWED_LOSSES
from envise_tf.report.section import as_points, percent


def verdict_table(evaluation: Evaluation) -> Table:
    """Returns what is answered, saved and promised, a row for each figure of the report's card."""
    table = Table(title=str(evaluation.finished.run.folder), show_header=False)
    for fact in facts(evaluation):
        table.add_row(fact.label, fact.value, fact.note)
    return table


def rates_table(evaluation: Evaluation) -> Table:
    """Returns accuracies, deferral and GiE on the test images, a row for each outlier rate."""
    table = Table("outliers", "student", "teacher", "cascade", "deferred", "GiE", title="On labelled test images")
    for rate in evaluation.rates:
        point = evaluation.point(evaluation.score, rate)
        accuracies = (point.accuracy_student, point.accuracy_teacher, point.accuracy_cascade)
        table.add_row(
            *(percent(share) for share in (rate, *accuracies, point.deferral_rate)), shown_gie(evaluation, point.gie)
        )
    return table


def equal_table(evaluation: Evaluation) -> Table:
    """Returns the GiE at equal accuracy against each teacher, at the lowest outlier rate."""
    rate, found = next(iter(evaluation.equal_accuracy.items()))
    below = map(as_points, ALLOWED_LOSSES)
    table = Table("teacher", "accuracy", *below, title=f"GiE [%] at so much less accuracy, {percent(rate, 0)} outliers")
    for teacher, one in found.items():
        gains = zip(one.gie, one.gie_standard_error, strict=True)
        shown = (shown_gie(evaluation, gain, f" ± {100 * error:.1f}") for gain, error in gains)
        table.add_row(teacher, percent(one.accuracy), *shown)
    return table
