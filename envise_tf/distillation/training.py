"""What training a teacher and distilling a student have in common: rate schedule, checkpoints, log, progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from rich.console import Console

from envise_tf import progress
from envise_tf.distillation.replicas import Replicas
from envise_tf.errors import UserError
from envise_tf.run import Run
from envise_tf.settings import FitSettings, TeachSettings, TrainSettings


class DivergenceError(UserError):
    """The loss is no longer finite."""


def prepare(seed: int, precision: str = "float32") -> None:
    """Makes TensorFlow reproducible and quiet, and sets the precision of the networks that are built next."""
    tf.get_logger().setLevel("ERROR")
    tf.autograph.set_verbosity(0)
    tf.keras.utils.set_random_seed(seed + 1)
    tf.config.experimental.enable_op_determinism()
    tf.keras.mixed_precision.set_global_policy(precision)


def steps(settings: FitSettings) -> int:
    """Returns the number of steps of the whole training."""
    return settings.windows * (settings.window // settings.batch_size)


def cosine_rate(settings: FitSettings, peak: float) -> tf.keras.optimizers.schedules.LearningRateSchedule:
    """Returns a rate that rises linearly to `peak` during warm-up and falls to zero along a cosine."""
    warmup = round(settings.warmup * steps(settings))
    return tf.keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=steps(settings) - warmup,
        warmup_target=peak,
        warmup_steps=warmup,
    )


class Recorder(tf.keras.callbacks.Callback):
    """Ends every window with a checkpoint and a line of the log, so that a run can be killed at any moment.

    Args:
        run: where to write.
        model: the model that is fitted; its weights and its optimisers' are saved.
    """

    def __init__(self, run: Run, model: tf.keras.Model) -> None:
        super().__init__()
        self._run = run
        self._windows = tf.Variable(0, dtype=tf.int64, trainable=False)
        checkpoint = tf.train.Checkpoint(model=model, windows=self._windows)
        self._manager = tf.train.CheckpointManager(checkpoint, str(run.checkpoints), max_to_keep=2)
        self.entries: list[dict[str, Any]] = []
        self._began = 0.0

    def restore(self) -> int:
        """Restores the latest checkpoint, if there is one; returns how many windows are done."""
        self._manager.restore_or_initialize()
        windows = int(self._windows.numpy())
        self.entries = self._run.log(windows)
        return windows

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._began = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if logs and not math.isfinite(logs["loss"]):
            raise DivergenceError(
                f"the loss became {logs['loss']} in window {len(self.entries)}, step {batch}: "
                "start again with a lower --learning_rate or a lower weight of the objectives"
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        seconds = time.monotonic() - self._began
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.entries.append({"window": epoch, "seconds": seconds, **values})
        self._run.write_log(self.entries)
        self._windows.assign(epoch + 1)
        self._manager.save()


class ProgressBar(tf.keras.callbacks.Callback):
    """One bar over all steps with time left; a line a window with its metrics.

    Args:
        windows: number of windows of the whole training.
        steps_a_window: steps in each.
        first_window: where a resumed run begins.
    """

    def __init__(self, windows: int, steps_a_window: int, first_window: int) -> None:
        super().__init__()
        self._console = Console()
        self._progress = progress.bar("steps, time", self._console)
        self._windows = windows
        total = windows * steps_a_window
        self._task = self._progress.add_task("", total=total, completed=first_window * steps_a_window)

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._progress.update(self._task, description=f"window {epoch + 1}/{self._windows}")

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._progress.advance(self._task)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        values = "  ".join(f"{name} {value:.4g}" for name, value in (logs or {}).items())
        self._progress.print(f"window {epoch + 1:>3}  {values}", soft_wrap=True)


def fitted(
    model: tf.keras.Model,
    batches: Callable[[int], tf.data.Dataset],
    run: Run,
    settings: TeachSettings | TrainSettings,
    replicas: Replicas,
    validation: tf.data.Dataset | None = None,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
    until: int | None = None,
) -> list[dict[str, Any]]:
    """Fits a compiled model window by window, from the run's latest checkpoint on; returns the run's log.

    Args:
        model: trained in place.
        batches: the endless stream of batches from a window on, given its number.
        run: where checkpoints and log are kept.
        settings: how long.
        replicas: who share each batch; the model must be in their scope.
        validation: what is measured after each window, of a known number of batches.
        callbacks: called after the checkpoint is written.
        until: the window after which to pause; rates fall as if the training went on to its end. None is the end.
    """
    recorder = Recorder(run, model)
    first = recorder.restore()
    replicas.require_same(first, settings)
    steps_a_window = settings.window // settings.batch_size
    windows = until or settings.windows
    # Left to choose, Keras adds up over workers what its metrics have already added up.
    model.distribute_reduction_method = "first"
    with ProgressBar(windows, steps_a_window, first) as bar:
        model.fit(
            replicas.shares(batches(first)),
            validation_data=None if validation is None else replicas.shares(validation),
            validation_steps=None if validation is None else len(validation),
            steps_per_epoch=steps_a_window,
            initial_epoch=first,
            epochs=windows,
            callbacks=[recorder, *callbacks, bar],
            verbose=0,
        )
    return recorder.entries


def in_float32(model: tf.keras.Model, build: Callable[[], tf.keras.Model], settings: FitSettings) -> tf.keras.Model:
    """Returns the model itself, or, if it was trained in another precision, its weights in one built in float32."""
    if settings.precision == "float32":
        return model
    tf.keras.mixed_precision.set_global_policy("float32")
    final = build()
    final.set_weights(model.get_weights())
    return final
