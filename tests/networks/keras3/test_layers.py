"""Layers of Keras 3 as its files describe them, and what stands for each in Keras 2."""

import pytest
import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.networks.activations import keras3_hard_sigmoid, keras3_hard_swish
from envise_tf.networks.keras3.layers import activation, counterpart

POLICY = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "mixed_bfloat16"}}


def arguments(**own):
    return {"name": "it", "trainable": True, "dtype": POLICY, **own}


def refusal(kind, **own):
    with pytest.raises(UserError) as error:
        counterpart(kind, arguments(**own))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_layer_keeps_name_precision_and_whether_it_is_trained():
    layer = counterpart("Flatten", {**arguments(), "trainable": False})
    assert (layer.name, layer.dtype_policy.name, layer.trainable) == ("it", "mixed_bfloat16", False)


def test_arguments_that_keras_2_calls_otherwise_or_lacks_while_they_are_off():
    assert counterpart("LeakyReLU", arguments(negative_slope=0.3)).alpha == pytest.approx(0.3)
    dense = {"units": 3, "activation": "relu", "use_bias": True, "lora_rank": None, "quantization_config": None}
    assert counterpart("Dense", arguments(**dense, kernel_initializer={"class_name": "Unknown"})).units == 3
    resizing = {"height": 8, "width": 9, "pad_to_aspect_ratio": False, "fill_mode": "constant", "fill_value": 0.5}
    assert counterpart("Resizing", arguments(**resizing, data_format="channels_last")).width == 9
    renorm = {"renorm": False, "renorm_clipping": None, "renorm_momentum": 0.99}
    assert counterpart("BatchNormalization", arguments(epsilon=0.1, **renorm)).epsilon == pytest.approx(0.1)


@pytest.mark.parametrize("kind", ["RandomFlip", "RandomRotation", "MixUp"])
def test_augmentation_is_an_identity(kind):
    layer = counterpart(kind, arguments(seed=3, anything=[1, 2]))
    assert isinstance(layer, tf.keras.layers.Activation)
    assert layer.activation is tf.keras.activations.linear


@pytest.mark.parametrize(
    ("kind", "own", "told"),
    [
        ("StochasticDepth", {}, "layer it (StochasticDepth) has no counterpart in Keras 2: "),
        ("Lambda", {"function": {}}, "layer it (Lambda) holds code, which is not run: "),
        ("Dense", {"units": 3, "lora_rank": 4}, "layer it (Dense) has lora_rank=4, which Keras 2 does not know: "),
        ("Resizing", {"antialias": True}, "layer it (Resizing) has antialias=True, which Keras 2 does not know: "),
        ("MaxPooling2D", {"data_format": "channels_first"}, "layer it (MaxPooling2D) has the channels first: "),
        ("Dense", {"units": 3, "activation": "glu"}, "layer it (Dense) has the activation glu, which has no "),
        ("Dense", {"dtype": {"class_name": "QuantizedDTypePolicy"}}, "layer it (Dense) is quantised "),
    ],
)
def test_what_has_no_counterpart_is_named(kind, own, told):
    assert refusal(kind, **own).startswith(told)


def test_activations_that_share_a_name_are_those_of_keras_3():
    assert activation("hard_sigmoid", "it") is keras3_hard_sigmoid
    assert activation("hard_silu", "it") is activation("hard_swish", "it") is keras3_hard_swish
    written_down = {"module": "builtins", "class_name": "function", "config": "relu6", "registered_name": "function"}
    assert activation(written_down, "it") == "relu6"
    assert activation(None, "it") == "linear"
