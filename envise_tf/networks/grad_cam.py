"""Grad-CAM: where in the image a network sees a class, through tf.GradientTape and open to further differentiation.

For class c with logit y_c and features F (height x width x channels) of the last convolutional stage
(Selvaraju et al. 2017, "Grad-CAM", eq. 1 and 2):

    a_k = mean over positions of d y_c / d F_k        A_c = ReLU(sum_k a_k F_k)

Only the head (features -> logits) is differentiated here, so the trunk runs once and outside the inner tape. A loss on
the maps is trained through them: a tape around all of this sees second derivatives of the head and first ones of
the trunk.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.networks.graph import Fork
from envise_tf.networks.precision import at_least_float32
from envise_tf.networks.split import Split, split

SMALLEST_NORM = 1e-6
"""A map of no greater L2 norm counts as all zero (our choice): its direction is rounding noise, and the gradient of a
direction grows as one over the norm."""


class HeadPass:
    """One pass of a network: its logits, then attention maps of any classes, and what else its halves returned.

    It holds the intermediate results of the head in memory: let go of it when the training step ends. It does not
    run the trunk, and does not know which classes matter. Any number of readers may differentiate what they are given.
    """

    def __init__(
        self, head: tf.keras.Model, features: tf.Tensor, training: bool = False, stages: Sequence[tf.Tensor] = ()
    ) -> None:
        """Runs the head once.

        Args:
            head: features -> logits (batch, classes), as in `networks.split.Split`.
            features: floating point (batch, height, width, channels), as the trunk returned them.
            training: the mode in which the head runs (dropout, batch normalisation).
            stages: the features of each stage, if the trunk returned them.
        """
        self._features = features
        # Persistent, for a gradient per class; it follows the features alone, variables are the outer tape's business.
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(features)
            *embedding, self._logits = tf.nest.flatten(head(features, training=training))
        self._tape = tape
        self._logits_fork = Fork(self._logits)
        self._stage_forks = [Fork(stage) for stage in stages]
        self._embedding_forks = [Fork(_averaged(each)) for each in embedding]

    @property
    def logits(self) -> tf.Tensor:
        """(batch, classes), what the head returned."""
        return self._logits_fork()

    @property
    def stages(self) -> list[tf.Tensor]:
        """The features of each stage, floating point (batch, height, width, channels), the last stage at the end."""
        return [fork() for fork in self._stage_forks]

    @property
    def embedding(self) -> tf.Tensor:
        """The penultimate features, floating point (batch, d): what the last layer with a kernel saw.

        A map is averaged over its positions.
        """
        (fork,) = self._embedding_forks
        return fork()

    def attention(self, classes: tf.Tensor) -> tf.Tensor:
        """Returns the Grad-CAM maps of K classes per image (Selvaraju et al. 2017, eq. 1 and 2).

        Args:
            classes: integer (batch, K), each in [0, number of classes); K is static. Costs a backward pass of the
                head over K times the batch. A class out of range gets a map of zeros.

        Returns:
            (batch, K, height, width) >= 0, float32, or float64 for float64 features.
        """
        if classes.shape[1] == 1:
            slopes = self._slopes(classes[:, 0])[tf.newaxis]
        else:
            # All classes in one pass. With one pass each, the head's weights get three or more gradients, which
            # TensorFlow adds up in the order of the buffers that happen to be free: no two trainings were alike.
            slopes = tf.vectorized_map(self._slopes, tf.transpose(classes))
        channel_weights = tf.reduce_mean(slopes, axis=[2, 3])
        return tf.nn.relu(tf.einsum("kbc,bhwc->bkhw", channel_weights, at_least_float32(self._features)))

    def _slopes(self, classes: tf.Tensor) -> tf.Tensor:
        """Returns d y_c / d F (batch, height, width, channels) of one class (batch,) per image."""
        chosen = tf.one_hot(classes, self._logits.shape[-1], dtype=self._logits.dtype)
        return at_least_float32(self._tape.gradient(self._logits, self._features, output_gradients=chosen))


def _averaged(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(values, axis=[1, 2]) if values.shape.rank == 4 else values


def unit_maps(maps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns flattened maps of length one, A / ||A||_2, and which of them have no direction.

    A map whose norm is at most `SMALLEST_NORM` becomes zeros and passes a gradient of zero.

    Args:
        maps: floating point (batch, K, height, width).

    Returns:
        unit maps (batch, K, height * width) of the type of `maps`; is_zero, bool (batch, K).
    """
    shape = tf.shape(maps)
    flat = tf.reshape(maps, [shape[0], shape[1], shape[2] * shape[3]])
    squares = tf.reduce_sum(flat**2, axis=-1, keepdims=True)
    is_zero = squares <= SMALLEST_NORM**2
    # Both branches of tf.where are differentiated, so neither may hold the root of zero.
    norms = tf.sqrt(tf.where(is_zero, tf.ones_like(squares), squares))
    return tf.where(is_zero, tf.zeros_like(flat), flat / norms), is_zero[..., 0]


def resized_to_smaller(a: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns two stacks of maps on one grid: the smaller height and the smaller width of the two.

    Resizing is bilinear with half-pixel centres; maps that already have the size are left as they are.

    Args:
        a: floating point (batch, K, height, width).
        b: floating point (batch, L, height', width').
    """
    size = tf.minimum(tf.shape(a)[2:], tf.shape(b)[2:])
    static = [_smaller(*sides) for sides in zip(a.shape[2:], b.shape[2:], strict=True)]
    return _resized(a, size, static), _resized(b, size, static)


def _smaller(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else min(one, other)


def _resized(maps: tf.Tensor, size: tf.Tensor, static: list[int | None]) -> tf.Tensor:
    if None not in static and maps.shape[2:] == static:
        return maps
    channels_last = tf.transpose(maps, [0, 2, 3, 1])
    resized = tf.cast(tf.image.resize(channels_last, size, method="bilinear"), maps.dtype)
    resized.set_shape([maps.shape[0], *static, maps.shape[1]])
    return tf.transpose(resized, [0, 3, 1, 2])


def grad_cam(model: tf.keras.Model | Split, images: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """Returns the Grad-CAM maps of K classes per image, for figures and reports; runs eagerly, in inference mode.

    Args:
        model: a classifier that `networks.split.split` can cut, or one already cut (cheaper when asked repeatedly).
        images: (batch, height, width, channels), as the classifier takes them.
        classes: integer (batch, K), each in [0, number of classes).

    Returns:
        (batch, K, h, w) >= 0 on the grid of the last convolutional features.

    Raises:
        UserError: `classes` has another shape or names a class that the classifier does not have.
    """
    parts = model if isinstance(model, Split) else split(model)
    images, classes = tf.convert_to_tensor(images), tf.convert_to_tensor(classes)
    _check_classes(classes, count=images.shape[0], known=parts.head.output_shape[-1])
    return HeadPass(parts.head, parts.trunk(images, training=False)).attention(classes)


def _check_classes(classes: tf.Tensor, count: int, known: int) -> None:
    if classes.shape.rank != 2 or classes.shape[0] != count or not classes.dtype.is_integer:
        raise UserError(
            f"classes are {classes.dtype.name} of shape {tuple(classes.shape)}, expected integers of shape "
            f"({count}, K): for each image the K classes whose maps you want"
        )
    outside = tf.boolean_mask(classes, (classes < 0) | (classes >= known))
    if tf.size(outside) > 0:
        raise UserError(f"class {int(outside[0])} was asked for, expected 0 to {known - 1}: the classifier's classes")
