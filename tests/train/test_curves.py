import numpy as np
import pytest
from PIL import Image

from envise_tf.train.curves import save_curves


@pytest.mark.slow
def test_the_picture_is_a_png_with_something_on_it(tmp_path):
    entries = [
        {"window": i, "seconds": 1.0, "loss": 2.0 - i, "soft_label": 2.0 - i, "agreement": 0.5, "val_agreement": 0.4}
        for i in range(2)
    ]
    save_curves(entries, tmp_path / "curves.png")
    pixels = np.asarray(Image.open(tmp_path / "curves.png").convert("L"))
    assert pixels.shape[1] == 1200
    assert (pixels < 128).mean() > 0.001
