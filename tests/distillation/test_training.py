import tensorflow as tf

from envise_tf.distillation import training


def test_the_rate_rises_to_its_peak_and_falls_to_zero():
    rate = training.cosine_rate(0.5, steps=100, warmup=0.2)
    values = [float(rate(step)) for step in (0, 10, 20, 60, 100)]
    tf.debugging.assert_near(values, [0.0, 0.25, 0.5, 0.25, 0.0], atol=1e-3)
