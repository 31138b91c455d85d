"""A new last layer for a trained network, before all of its layers are fine-tuned.

Fine-tuning from a random last layer sends large random gradients into features that were good [Kumar et al. 2022,
"Fine-tuning can distort pretrained features"]. So the last layer is first trained alone, on the features of one pass.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

_BATCH_SIZE = 256
_LEARNING_RATE = 2e-3


def warm_head(model: tf.keras.Model, batches: tf.data.Dataset, passes: int, label_smoothing: float) -> None:
    """Trains the last layer of a classifier alone, by Adam with a cosine, on features that are computed once.

    Args:
        model: functional, its last layer a Dense without activation; changed in place.
        batches: (images, int labels), one pass.
        passes: over the features.
        label_smoothing: share of each label that is spread over all classes.
    """
    last = model.layers[-1]
    features_of = tf.keras.Model(model.input, last.input)
    compute = tf.function(lambda images: features_of(images, training=False), reduce_retracing=True)
    pairs = [(compute(images).numpy(), labels.numpy()) for images, labels in batches]
    features = np.concatenate([f for f, _ in pairs]).astype(np.float32)
    labels = tf.one_hot(np.concatenate([y for _, y in pairs]), last.units)
    head = tf.keras.Sequential([tf.keras.Input(features.shape[1:]), tf.keras.layers.Dense(last.units, dtype="float32")])
    head.set_weights(last.get_weights())
    steps = passes * -(-len(features) // _BATCH_SIZE)
    rate = tf.keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps)
    loss = tf.keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)
    head.compile(tf.keras.optimizers.Adam(rate, jit_compile=False), loss, jit_compile=False)
    head.fit(features, labels, _BATCH_SIZE, epochs=passes, verbose=0)
    last.set_weights(head.get_weights())
