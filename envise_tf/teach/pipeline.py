"""Supervised training of a teacher, with labels: the only place that uses them for training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from scipy import special

from envise_tf import progress
from envise_tf.distillation import training
from envise_tf.distillation.replicas import Replicas
from envise_tf.errors import UserError, as_word
from envise_tf.images.halves import Part
from envise_tf.images.loading import load_source
from envise_tf.images.source import Source
from envise_tf.images.windows import Augmentation, Stream
from envise_tf.networks.efficientnet_lite import with_frozen_blocks
from envise_tf.networks.imagenet import ImagenetReference, to_fine_tune
from envise_tf.networks.labelled import CALIBRATION_FILE, LabelledLogits
from envise_tf.networks.loading import load_teacher
from envise_tf.networks.teachers import keras_application, wide_resnet
from envise_tf.networks.tracing import traced
from envise_tf.networks.warm_head import warm_head
from envise_tf.prior.adapted import ending_in_logits
from envise_tf.prior.calibration import Calibration, fitted_calibration, reliability
from envise_tf.run import Run, provenance
from envise_tf.runs.accuracy import accuracy_on
from envise_tf.runs.fitting import found_replicas, opened_run
from envise_tf.settings import TeachSettings


def teach(settings: TeachSettings, resumed: bool) -> Run:
    """Trains a teacher and writes teacher.keras and result.json to its run.

    Args:
        settings: of the training.
        resumed: resume the run in settings.out.

    Raises:
        UserError: the source has no labels or cannot be read, the network does not fit it, or the loss is not finite.
    """
    replicas = found_replicas(settings, lambda line: print(line, flush=True))
    if settings.source is None:
        raise UserError("no source is given: expected --source with labelled images, such as cifar100 or a folder")
    source = load_source(settings.source, settings.data_dir, settings.image_size)
    if not source.class_names:
        raise UserError(f"{settings.source} has no labels: a teacher needs images in one sub-folder per class")
    if resumed and (Path(str(settings.out)) / "result.json").exists():
        raise UserError(
            f"{settings.out} is finished: there is nothing to resume; python -m envise_tf.train --source "
            f"{as_word(settings.source)} --teacher {as_word(settings.out)} takes it as a teacher"
        )
    with opened_run(settings, "teach", resumed, replicas) as run:
        training.prepare(settings.seed, settings.precision)
        stream = _stream(settings, source, "teacher")
        model = _network(settings, source)
        if settings.head_passes and not run.checkpoints.exists():
            warm_head(model, stream.labelled_images(), settings.head_passes, settings.label_smoothing)
        trained = _compiled(replicas, model, settings, settings.windows * stream.batches_a_window)
        if not resumed:
            run.begin(settings)
        entries = _fitted(trained, stream, settings, run, replicas)
        replicas.copied_back(trained, model)
        final = training.in_float32(model, lambda: _network(settings, source), settings.precision)
        run.save("teacher.keras", final.save)
        labelled = _labelled(final, _stream(settings, source, "calibration"))
        if len(labelled):
            run.save(CALIBRATION_FILE, labelled.save)
        result = _result(final, source, settings, entries, labelled)
        run.write_json("result.json", result)
        print(f"accuracy on the test split: {result['accuracy']:.4f}")
        print(f"next: python -m envise_tf.train --source {as_word(settings.source)} --teacher {as_word(run.folder)}")
    return run


def accuracy_on_test_split(model: tf.keras.Model, source: Source) -> float:
    """Returns the share of the source's test images that the model classifies rightly, in 0..1."""
    examples = source.examples("test").map(lambda example: (example["image"], example["label"]))
    return accuracy_on(model, examples.batch(256).prefetch(2))


def _network(settings: TeachSettings, source: Source) -> tf.keras.Model:
    size = settings.image_size or source.size
    if size is None:
        raise UserError(f"the images of {settings.source} differ in size: give --image_size")
    classes = len(source.class_names)
    reference = ImagenetReference.of(settings.initial)
    if reference is not None:
        return with_frozen_blocks(to_fine_tune(reference, size, classes, source.wordnet_ids), settings.frozen)
    if settings.initial is not None:
        return _initial(settings.initial, size, classes)
    if settings.network == "wide_resnet":
        return wide_resnet(size, classes, settings.depth, settings.width)
    return keras_application(settings.network, size, classes, settings.weights)


def _initial(reference: str, size: int, classes: int) -> tf.keras.Model:
    classifier = load_teacher(reference)
    if classifier.size not in (None, size) or classifier.classes != classes:
        raise UserError(
            f"{reference} takes {classifier.size}x{classifier.size} images of {classifier.classes} classes: expected "
            f"{size}x{size} images of {classes} classes; give another --initial"
        )
    return classifier.model


def _fitted(
    model: tf.keras.Model, stream: Stream, settings: TeachSettings, run: Run, replicas: Replicas
) -> list[dict[str, Any]]:
    augmentation = Augmentation(settings.flip, settings.shift, settings.cutout, settings.mixup)
    classes = model.output_shape[-1]

    def one_hot(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return images, labels if settings.mixup else tf.one_hot(labels, classes)

    with progress.ProgressBar(settings.windows, stream.batches_a_window) as bar:
        return training.fitted(
            model,
            lambda first: stream.labelled_batches(augmentation, first).map(one_hot),
            run,
            settings.windows,
            stream.batches_a_window,
            callbacks=[bar],
            replicas=replicas,
        )


def _result(
    model: tf.keras.Model,
    source: Source,
    settings: TeachSettings,
    entries: list[dict[str, Any]],
    labelled: LabelledLogits,
) -> dict[str, Any]:
    return {
        "accuracy": accuracy_on_test_split(model, source),
        "accuracy_on_kept": float((labelled.logits.argmax(axis=1) == labelled.labels).mean())
        if len(labelled)
        else None,
        "kept_images": len(labelled),
        "calibration": _calibration_figures(labelled),
        "seconds": sum(entry["seconds"] for entry in entries),
        "architecture": {**_architecture(settings), "size": model.input_shape[1], "classes": model.output_shape[1]},
        "parameters": model.count_params(),
        "class_names": list(source.class_names),
        "settings": dataclasses.asdict(settings),
        **provenance(),
    }


def _labelled(model: tf.keras.Model, kept: Stream) -> LabelledLogits:
    """Returns what the teacher says of the images that were kept out of its training."""
    ask = traced(ending_in_logits(model))
    pairs = kept.labelled_images().as_numpy_iterator()
    return LabelledLogits.of(((ask(images), labels) for images, labels in pairs), model.output_shape[1])


def _calibration_figures(labelled: LabelledLogits) -> dict[str, Any] | None:
    """Returns how far the teacher's confidence is to be believed, and what corrects it, for the teacher's card.

    None where too few images were kept to fit anything on.
    """
    if len(np.unique(labelled.labels)) < 2:
        return None
    fitted = fitted_calibration(labelled.logits, labelled.labels)
    plain = Calibration.identity(labelled.logits.shape[1])
    return {
        "error_before": _calibration_error(plain, labelled),
        "error_after": _calibration_error(fitted, labelled),
        **fitted.to_dict(),
    }


def _calibration_error(calibration: Calibration, labelled: LabelledLogits) -> float:
    probabilities = special.softmax(calibration.logits(labelled.logits), axis=1)
    is_correct = probabilities.argmax(axis=1) == labelled.labels
    return reliability(probabilities.max(axis=1), is_correct).calibration_error


def _architecture(settings: TeachSettings) -> dict[str, Any]:
    """Returns what the network is built from, beside the size of its images and the number of its classes."""
    reference = ImagenetReference.of(settings.initial)
    if reference is not None:
        return {"network": "efficientnet_lite", **dataclasses.asdict(reference)}
    return {"network": settings.network, "depth": settings.depth, "width": settings.width}


def _compiled(replicas: Replicas, network: tf.keras.Model, settings: TeachSettings, steps: int) -> tf.keras.Model:
    """Returns the network's copy in all replicas, ready for `fit`."""
    model = replicas.copied(network)
    rate = training.cosine_rate(settings.learning_rate, steps, settings.warmup)
    with replicas.scope():
        optimizer = tf.keras.optimizers.SGD(
            rate,
            momentum=0.9,
            nesterov=True,
            weight_decay=settings.weight_decay,
            use_ema=settings.ema > 0,
            ema_momentum=settings.ema,
            jit_compile=False,
        )
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        optimizer.build(model.trainable_variables)  # made in the first step, its variables would have it traced twice
        # Keras' own loss and not a function of ours: whoever loads the teacher need not know it.
        loss = tf.keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=settings.label_smoothing)
        metrics = [tf.keras.metrics.CategoricalAccuracy(name="accuracy")]
        model.compile(optimizer, loss, metrics=metrics, jit_compile=False)
    return model


def _stream(settings: TeachSettings, source: Source, part: Part) -> Stream:
    return Stream(source, part, settings.protocol, None, None, settings.window, settings.batch_size, settings.seed)
