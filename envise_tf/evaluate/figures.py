"""The figures of an evaluation: plain arrays in, a matplotlib figure out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from envise_tf.measures.operating_points import Curve, OperatingPoint
from envise_tf.prior.adaptation import Adaptation
from envise_tf.prior.calibration import Reliability
from envise_tf.report.axes import CASCADE, GREY, INLIER, LEGEND, OUTLIER, STUDENT, TEACHER, colours_of, framed_axes
from envise_tf.report.section import as_points

_GROUPS = (INLIER, OUTLIER, GREY)
_BINS = 40
_MOST_SHARES = 30
_ROW_INCHES = 0.19


def score_histogram(
    groups: Mapping[str, np.ndarray], thresholds: np.ndarray, name: str, as_counts: bool = False
) -> Figure:
    """Returns the histograms of one score among groups of images, with the thresholds.

    Args:
        groups: float (m,) each, at most three, by name; empty ones are not drawn.
        thresholds: float (k,); those that are infinite are not drawn.
        name: of the score.
        as_counts: images, one group on top of the other; else each group has area one.
    """
    figure, axes = framed_axes(
        xlabel=f"score {name} (larger = more inlier)", ylabel="images" if as_counts else "density"
    )
    shown = {label: scores for label, scores in groups.items() if len(scores)}
    finite = thresholds[np.isfinite(thresholds)]
    spread = np.quantile(np.concatenate(list(shown.values())), [0.002, 0.998])
    low, high = np.min([*spread, *finite]), np.max([*spread, *finite])
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    colours = {label: colour for label, colour in zip(groups, _GROUPS, strict=False) if label in shown}
    axes.hist(
        [np.clip(scores, low, high) for scores in shown.values()],
        edges,
        density=not as_counts,
        histtype="stepfilled" if not as_counts else "barstacked",
        alpha=1.0 if as_counts else 0.6,
        label=list(shown),
        color=list(colours.values()),
    )
    for i, threshold in enumerate(np.unique(finite)):
        axes.axvline(threshold, color="black", lw=1, ls="--", label=None if i else "threshold")
    axes.locator_params(axis="x", nbins=5)
    axes.ticklabel_format(axis="x", scilimits=(-2, 4), useMathText=True)
    figure.legend(loc="outside upper left", ncols=2, **LEGEND)
    return figure


def roc_curves(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], auroc: Mapping[str, float]) -> Figure:
    """Returns the ROC of every score, inliers positive, the best in the legend first.

    Args:
        curves: by name, share of outliers that pass and share of inliers that pass, each (m,).
        auroc: by name.
    """
    high = 3.1 + 0.08 * len(curves)
    figure, axes = framed_axes(
        size=(4.2, high), xlabel="outliers answered by the student", ylabel="inliers answered by the student"
    )
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    names = sorted(curves, key=lambda name: -auroc[name])
    for name, colour in zip(names, colours_of(len(names)), strict=True):
        axes.plot(*curves[name], lw=1.2, color=colour, label=f"{name} {auroc[name]:.3f}")
    figure.legend(loc="outside lower center", ncols=2, title="AUROC", title_fontsize=8.5, **LEGEND)
    return figure


def accuracy_against_gie(
    curves: Mapping[str, Curve], chosen: str, point: tuple[float, float], allowed_loss: float | None, about: str
) -> Figure:
    """Returns accuracy against GiE over all thresholds of every score, with the point that was chosen.

    Args:
        curves: by name of the score.
        chosen: the score that decides.
        point: GiE and accuracy at its threshold.
        allowed_loss: of accuracy, drawn as a line below the teacher's; None for no line.
        about: what kind of accuracy this is.
    """
    figure, axes = framed_axes(xlabel="gain in efficiency (GiE) [%]", ylabel=f"{about} of the cascade [%]")
    for name, curve in curves.items():
        if name != chosen:
            axes.plot(100 * curve.gie, 100 * curve.accuracy, color="#b0b0b0", lw=0.8)
    own = curves[chosen]
    gie, accuracy = 100 * own.gie, 100 * own.accuracy
    axes.plot(gie, accuracy, color=CASCADE, lw=2, label=chosen)
    axes.axhline(accuracy[-1], color=TEACHER, lw=1, label="teacher")
    if allowed_loss is not None:
        label = f"{as_points(allowed_loss)} less"
        axes.axhline(accuracy[-1] - 100 * allowed_loss, color=TEACHER, lw=0.8, ls=":", label=label)
    axes.plot(*(100 * each for each in point), "o", color="black", zorder=4, label="chosen threshold")
    axes.plot(gie[0], accuracy[0], "s", color=STUDENT, zorder=4, label="student alone")
    axes.legend(**LEGEND, loc="lower left")
    return figure


def gie_against_outlier_rate(points: Sequence[OperatingPoint]) -> Figure:
    """Returns GiE and deferral rate against the outlier rate, at the chosen threshold."""
    figure, axes = framed_axes(xlabel="outliers in the stream [%]", ylabel="[%]")
    rates = [100 * point.outlier_rate for point in points]
    false_alarms = [100 * point.false_alarms for point in points]
    axes.stackplot(
        rates,
        false_alarms,
        [100 * point.outliers_caught for point in points],
        labels=["deferred: false alarms", "deferred: outliers"],
        colors=["#a6a6a6", OUTLIER],
        alpha=0.8,
    )
    axes.plot(rates, [100 * point.gie for point in points], "o-", color=CASCADE, label="GiE")
    axes.set_ylim(min(0, *(100 * point.gie for point in points)), 100)
    axes.legend(**LEGEND)
    return figure


def feature_picture(
    points: np.ndarray, classes: np.ndarray, is_outlier: np.ndarray, names: Mapping[int, str]
) -> Figure:
    """Returns the student's features in two dimensions, coloured by class; outliers are black crosses.

    Args:
        points: float (n, 2).
        classes: integer (n,), true classes.
        is_outlier: bool (n,).
        names: of the classes.
    """
    figure, axes = framed_axes(xticks=[], yticks=[])
    shown = np.unique(classes[~is_outlier])
    colours = colours_of(len(shown))
    for label, colour in zip(shown, colours, strict=True):
        own = (classes == label) & ~is_outlier
        axes.plot(*points[own].T, ".", ms=3, color=colour, label=names.get(int(label), "?"))
    if is_outlier.any():
        axes.plot(*points[is_outlier].T, "x", ms=2.5, mew=0.6, color="black", label="outlier")
    figure.legend(loc="outside lower center", ncols=3, markerscale=2, **LEGEND)
    return figure


def confusion(matrix: np.ndarray, names: Sequence[str]) -> Figure:
    """Returns a confusion matrix as a picture, each row of sum one.

    Args:
        matrix: counts (k, k), by true class and the class answered.
        names: of the k classes.
    """
    figure, axes = framed_axes(size=(4.6, 4.0), xlabel="answered", ylabel="true class")
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=_label_size(len(names)))
    axes.set_yticks(range(len(names)), names, fontsize=_label_size(len(names)))
    axes.grid(visible=False)
    figure.colorbar(image, shrink=0.6, label="share of the true class")
    return figure


def reliability_diagram(found: Mapping[str, Reliability]) -> Figure:
    """Returns accuracy against confidence of several classifiers, with the line on which they are calibrated.

    Args:
        found: by the name of the classifier: "raw teacher", "adapted teacher" or "student".
    """
    colours = {"raw teacher": TEACHER, "adapted teacher": CASCADE, "student": STUDENT}
    figure, axes = framed_axes(xlabel="confidence", ylabel="accuracy")
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    for name, each in found.items():
        label = f"{name}, error {100 * each.calibration_error:.1f} points"
        axes.plot(each.confidence, each.accuracy, "o-", ms=3, lw=1.2, color=colours[name], label=label)
    axes.legend(**LEGEND, loc="lower right")
    return figure


def class_shares(adaptation: Adaptation, names: Sequence[str], learned: Sequence[int]) -> Figure:
    """Returns the estimated shares of a stream's most frequent classes with their intervals.

    Args:
        adaptation: whose estimate is shown.
        names: of all classes.
        learned: the classes that the student has; the others are drawn in grey.
    """
    shown = np.argsort(-adaptation.estimate, kind="stable")[:_MOST_SHARES]
    high = 0.9 + _ROW_INCHES * len(shown)
    figure, axes = framed_axes(size=(4.2, high), xlabel="share of the stream [%]")
    for is_learned, colour, label in ((True, STUDENT, "the student's"), (False, GREY, "left to the teacher")):
        places = np.flatnonzero(np.isin(shown, learned) == is_learned)
        if not len(places):
            continue
        share, lower, upper = (
            100 * each[shown[places]] for each in (adaptation.estimate, adaptation.lower, adaptation.upper)
        )
        # An estimate by EM need not lie inside the percentiles of its replicates.
        errors = np.maximum([share - lower, upper - share], 0)
        axes.errorbar(share, places, xerr=errors, fmt="o", ms=3, lw=1, color=colour, label=label)
    axes.set_yticks(range(len(shown)), [names[i] for i in shown], fontsize=8.5)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.legend(**LEGEND, loc="lower right")
    return figure


def _label_size(count: int) -> float:
    return max(3.0, min(8.5, 160 / count))
