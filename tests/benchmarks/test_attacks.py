"""Attacks on a cascade: changes stay as small as they are said to be, and what is counted is what the cascade says."""

import json
import shutil

import attacks
import numpy as np
import pytest
import tensorflow as tf
from commands import error_line

pytestmark = pytest.mark.slow

IMAGES = np.random.default_rng(3).integers(0, 256, (70, 6, 6, 3), dtype=np.uint8)


def brightness_target(limit: float) -> attacks.Target:
    """A student of two classes whose score is the mean of the pixels."""
    pixels = tf.keras.Input((6, 6, 3))
    score = tf.keras.layers.Lambda(lambda x: tf.reduce_mean(x, axis=[1, 2, 3])[:, tf.newaxis])(pixels)
    logits = tf.keras.layers.Lambda(lambda x: tf.concat([x, 0 * x], axis=1))(score)
    return attacks.Target(tf.keras.Model(pixels, [logits, tf.nn.softmax(logits), score]), np.full(2, limit))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_attack_moves_the_score_as_far_as_the_change_allows(sign):
    target = brightness_target(127.0)
    moved = attacks.attacked(target, IMAGES, change=5, steps=10, sign=sign)
    assert moved.dtype == np.uint8
    np.testing.assert_array_equal(moved, np.clip(IMAGES.astype(int) + sign * 5, 0, 255))


def test_an_attack_that_steps_too_far_ends_with_its_best_step():
    pixels = tf.keras.Input((6, 6, 3))
    brightness = tf.keras.layers.Lambda(lambda x: tf.reduce_mean(x, axis=[1, 2, 3])[:, tf.newaxis])(pixels)
    score = tf.keras.layers.Lambda(lambda x: -tf.abs(x - 103.0))(brightness)
    target = attacks.Target(tf.keras.Model(pixels, [brightness, brightness, score]), np.zeros(1))
    images = np.full((3, 6, 6, 3), 100, np.uint8)
    for steps in (4, 5):
        moved = attacks.attacked(target, images, change=60, steps=steps, sign=1.0)
        assert target.answers(moved)[1].min() > -15, "a step is of 30 or more"


def test_shares_are_of_the_images_that_could_be_turned_over():
    limit = float(np.median(IMAGES.mean(axis=(1, 2, 3))))
    target = brightness_target(limit)
    images = attacks.Images(IMAGES[:40], np.zeros(40, int), IMAGES[40:])
    found = attacks.changed_figures(target, images, change=60, steps=5)
    answered = IMAGES.mean(axis=(1, 2, 3)) >= limit
    assert (found["flooded_of"], found["evaded_of"]) == (answered[:40].sum(), (~answered[40:]).sum())
    assert found["flooded"] == found["evaded"] == 1
    assert found["flooded_by_chance"] < 1
    assert found["answered"] == answered[:40].mean()


def test_a_patch_lies_whole_inside_of_each_image_and_changes_nothing_else():
    square = np.full((2, 2, 3), 7, np.uint8)
    dark = np.zeros((50, 6, 6, 3), np.uint8)
    covered = attacks.pasted(dark, square, np.random.default_rng(0))
    np.testing.assert_array_equal(covered.sum(axis=(1, 2, 3)), 4 * 3 * 7)
    assert len({each.tobytes() for each in covered}) > 15
    np.testing.assert_array_equal(
        tf.pad(tf.ones((2, 2, 1)), attacks.padding([1, 3], 6, 2))[1:3, 3:5], np.ones((2, 2, 1))
    )


def test_a_run_is_attacked_from_one_command(digits_run, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    shutil.copytree(digits_run, run)
    words = ["--images", "12", "--changes", "8", "--steps", "2", "--patch_steps", "2"]
    monkeypatch.setattr("sys.argv", ["attacks.py", str(run), *words])
    monkeypatch.setattr(attacks, "LOGIT_SCORES", ("energy",))
    monkeypatch.setattr(attacks, "PATCHED_CLASSES", 1)
    attacks.main()
    result = json.loads((run / "attacks.json").read_text())
    assert {row["score"] for row in result["rows"]} == {"own", "energy"}
    assert all(0 <= row["flooded"] <= 1 for row in result["rows"])
    assert {row["square"] for row in result["patch"]} == {"patch", "grey square"}
    assert "flooded" in capsys.readouterr().out
    (run / "threshold.json").unlink()
    assert "choose one by python -m envise_tf.evaluate" in error_line(capsys, lambda _: attacks.main(), [])
