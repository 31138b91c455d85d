import tensorflow as tf

from envise_tf.distillation import training


def test_the_rate_rises_to_its_peak_and_falls_to_zero():
    rate = training.cosine_rate(0.5, steps=100, warmup=0.2)
    values = [float(rate(step)) for step in (0, 10, 20, 60, 100)]
    tf.debugging.assert_near(values, [0.0, 0.25, 0.5, 0.25, 0.0], atol=1e-3)


def test_in_two_stages_the_rate_rises_and_falls_twice():
    once, twice = (training.cosine_rate(0.5, steps, 0.2, stages) for steps, stages in ((50, 1), (100, 2)))
    for step in range(50):
        tf.debugging.assert_equal(twice(tf.constant(step)), once(tf.constant(step)))
        tf.debugging.assert_equal(twice(tf.constant(50 + step)), once(tf.constant(step)))
