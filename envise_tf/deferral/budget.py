"""A budget for the teacher: at most a share of any images in a row is left to it.

A cascade saves work because few images are deferred, and whoever chooses the images can see to it that many are: by
a flood of them that are changed a little, or of a class that the student does not have. A budget bounds that work.
While it is spent the student answers alone, and says so of every image that it would have deferred: the promise covers
no such answer. Our choice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from envise_tf.errors import UserError


class DeferralBudget:
    """How many images may be left to the teacher.

    Args:
        most_deferred: share of any `window` images in a row, in (0, 1]; 1 is no limit.
        window: images, at least 1.

    Raises:
        UserError: a number is out of its range, or the share of the window is less than one image.

    Attributes:
        most: images of any window that may be left to the teacher.
    """

    def __init__(self, most_deferred: float, window: int) -> None:
        # What rounding takes off a product, such as 0.29 * 100, is given back.
        self.most, self._window = int(most_deferred * window + 1e-9), window
        if not 0 < most_deferred <= 1 or self.most < 1:
            raise UserError(
                f"at most {most_deferred} of any {window} images deferred: expected a share of at least one image and "
                "at most 1"
            )
        self._position = 0
        self._granted: deque[int] = deque(maxlen=self.most)

    @property
    def is_spent(self) -> bool:
        """Whether the next image could not be left to the teacher."""
        return len(self._granted) == self.most and self._position - self._granted[0] < self._window

    def open_for(self, deferred: np.ndarray) -> np.ndarray:
        """Returns whether the budget was open when each image came, bool (n,), and takes from it what is deferred.

        Whether it was open does not depend on the image itself, so the images that find it open are a fair sample of
        a stream whose images are independent.

        Args:
            deferred: bool (n,), the next images in their order, which the student would leave to the teacher.
        """
        is_open = np.zeros(len(deferred), bool)
        for place, wanted in enumerate(deferred):
            is_open[place] = not self.is_spent
            if wanted and is_open[place]:
                self._granted.append(self._position)
            self._position += 1
        return is_open

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restore` needs as plain values, but for what it was made with."""
        return {"position": self._position, "granted": list(self._granted)}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Makes this the budget, of the same arguments, that `snapshot` was taken of."""
        self._position, self._granted = snapshot["position"], deque(snapshot["granted"], maxlen=self.most)
