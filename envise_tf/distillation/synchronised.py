"""What replicas that train together share in every step: the statistics of batch normalisation, and sums."""

from __future__ import annotations

import tensorflow as tf


class SynchronisedBatchNormalization(tf.keras.layers.BatchNormalization):
    """Batch normalisation over the images of all replicas, as one process would do it with the whole batch.

    Not Keras' own (`synchronized=True`), for three reasons: its variance is a difference of two large numbers; its
    moving variance is that of the sample, where the fused one-process operator keeps the unbiased estimate; and it
    makes gradients that are sums of three, which TensorFlow adds in changing order.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if not (training and self.trainable):
            return super().call(inputs, training=False)
        x = tf.cast(inputs, tf.float32)
        axes = [axis for axis in range(len(x.shape)) if axis not in [number % len(x.shape) for number in self.axis]]
        replicas = tf.distribute.get_strategy().num_replicas_in_sync  # all with a share of the same size
        count = tf.cast(tf.size(x) / tf.size(self.moving_mean), tf.float32) * replicas
        mean = summed_over_replicas(tf.reduce_sum(x, axes, keepdims=True)) / count
        centred = x - mean
        variance = summed_over_replicas(tf.reduce_sum(centred**2, axes, keepdims=True)) / count
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance * (count / (count - 1)))
        shape = tf.shape(mean)
        outputs = centred * tf.math.rsqrt(variance + self.epsilon)
        outputs = outputs * tf.reshape(self.gamma, shape) if self.scale else outputs
        outputs = outputs + tf.reshape(self.beta, shape) if self.center else outputs
        return tf.cast(outputs, inputs.dtype)

    def _move(self, moving: tf.Variable, value: tf.Tensor) -> None:
        moving.assign_sub((moving - tf.reshape(value, tf.shape(moving))) * (1 - self.momentum))


def summed_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """Returns the sum of each replica's value, of the same shape; the value itself where there is one replica."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)
