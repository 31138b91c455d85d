"""How often a network is right on labelled images."""

from __future__ import annotations

import tensorflow as tf


def accuracy_on(model: tf.keras.Model, batches: tf.data.Dataset) -> float:
    """Returns the share of images that the model classifies rightly, in 0..1, of batches of (images, int labels)."""
    metric = tf.keras.metrics.SparseCategoricalAccuracy()
    answer = tf.function(lambda images: model(images, training=False), reduce_retracing=True)
    for images, labels in batches:
        metric.update_state(labels, answer(images))
    return float(metric.result())
