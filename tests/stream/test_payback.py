"""When training is expected to pay."""

from envise_tf.networks.macs import LayerMacs, Macs
from envise_tf.stream.payback import SAVED, pays_after


def test_training_pays_once_what_it_would_have_saved_is_what_it_costs():
    student = Macs((LayerMacs("binary", "QuantConv2D", 0, 640),))  # 1,280 FLOPs in float
    teacher = Macs((LayerMacs("float", "Conv2D", 5_000, 0),))
    cost = 300 * (3 * 1280 + 10_000)
    assert pays_after(300, student, teacher) * SAVED * 10_000 == cost
