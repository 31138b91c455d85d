"""What training a teacher and distilling a student have in common: rate schedule, windows, checkpoints, log."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from envise_tf.distillation.replicas import Replicas, one_replica
from envise_tf.errors import UserError
from envise_tf.run import Run


class DivergenceError(UserError):
    """The loss is no longer finite."""


def prepare(seed: int, precision: str = "float32") -> None:
    """Makes TensorFlow reproducible and quiet, and sets the precision of the networks that are built next."""
    tf.get_logger().setLevel("ERROR")
    tf.autograph.set_verbosity(0)
    tf.keras.utils.set_random_seed(seed + 1)
    tf.config.experimental.enable_op_determinism()
    tf.keras.mixed_precision.set_global_policy(precision)


def cosine_rate(
    peak: float, steps: int, warmup: float, stages: int = 1
) -> tf.keras.optimizers.schedules.LearningRateSchedule:
    """Returns a rate that rises linearly to its peak, then falls to zero along a cosine [Loshchilov and Hutter 2017].

    Args:
        peak: the largest rate.
        steps: of the whole training.
        warmup: share of the steps in which the rate rises, 0..1, not 1 itself.
        stages: equal parts of the training, in each of which the rate rises and falls again.
    """
    length = steps // stages
    rising = round(warmup * length)
    once = tf.keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0, decay_steps=length - rising, warmup_target=peak, warmup_steps=rising
    )
    return once if stages == 1 else _Repeated(once, length)


class _Repeated(tf.keras.optimizers.schedules.LearningRateSchedule):
    """A rate that begins anew after so many steps."""

    def __init__(self, once: tf.keras.optimizers.schedules.LearningRateSchedule, length: int) -> None:
        self._once, self._length = once, length

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        return self._once(tf.math.floormod(step, self._length))


class Recorder(tf.keras.callbacks.Callback):
    """Ends every window with a checkpoint and a line in the log, so that a run can be killed at any moment.

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


def fitted(
    model: tf.keras.Model,
    batches: Callable[[int], tf.data.Dataset],
    run: Run,
    windows: int,
    steps_a_window: int,
    validation: tf.data.Dataset | None = None,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
    replicas: Replicas | None = None,
) -> list[dict[str, Any]]:
    """Fits a compiled model window by window, from the run's latest checkpoint on; returns the run's log.

    Args:
        model: trained in place.
        batches: takes the number of a window and returns the endless stream of batches that begins with it.
        run: where checkpoints and log are kept.
        windows: how many the run shall have in the end, counting those that it already has.
        steps_a_window: steps in each.
        validation: what is measured after each window, of a known number of batches.
        callbacks: called after the checkpoint is written.
        replicas: who share each batch; the model must be in their scope. None is one process alone.

    Raises:
        UserError: the loss is not finite, or workers see different checkpoints.
    """
    replicas = replicas or one_replica()
    recorder = Recorder(run, model)
    first = recorder.restore()
    seen = replicas.gathered(first)
    if len(seen) > 1:
        raise UserError(
            f"the workers see {sorted(seen)} windows done in {run.folder}: "
            "expected the same; give a folder that all of them share"
        )
    # Left to choose, Keras adds up over workers what its metrics have already added up.
    model.distribute_reduction_method = "first"
    model.fit(
        replicas.shares(batches(first)),
        validation_data=None if validation is None else replicas.shares(validation),
        validation_steps=None if validation is None else len(validation),
        steps_per_epoch=steps_a_window,
        initial_epoch=first,
        epochs=windows,
        callbacks=[recorder, *callbacks],
        verbose=0,
    )
    return recorder.entries


def in_float32(model: tf.keras.Model, build: Callable[[], tf.keras.Model], precision: str) -> tf.keras.Model:
    """Returns the model itself or, if it was trained in another precision, its weights in one built in float32.

    Args:
        model: trained.
        build: returns a new network of the same architecture, in the precision that is set.
        precision: that the model was trained in, as in `prepare`.
    """
    if precision == "float32":
        return model
    tf.keras.mixed_precision.set_global_policy("float32")
    final = build()
    final.set_weights(model.get_weights())
    return final
