import tensorflow as tf

from envise_tf.distillation import training
from envise_tf.settings import TeachSettings


def test_the_rate_rises_to_its_peak_and_falls_to_zero():
    settings = TeachSettings(windows=10, window=640, batch_size=64, warmup=0.2)
    assert training.steps(settings) == 100
    rate = training.cosine_rate(settings, 0.5)
    values = [float(rate(step)) for step in (0, 10, 20, 60, 100)]
    tf.debugging.assert_near(values, [0.0, 0.25, 0.5, 0.25, 0.0], atol=1e-3)
