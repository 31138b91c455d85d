"""When training a student is expected to pay.

Nobody knows how long the stream will stay as it is. The rule is that of ski rental [Karlin et al. 1988, "Competitive
snoopy caching"]: training begins when it would have paid for itself by now, had the student been there from the start.
Then all the work, of training and of what was not saved before it, is at most twice that of who knows the future. What
training saves is a guess: half of the images that the teacher answered though they are of the student's classes (our
choice).
"""

from __future__ import annotations

from envise_tf.measures.gie import AdaptationWork
from envise_tf.networks.macs import Macs

SAVED = 0.5
"""Share of the avoidable answers of the teacher that a trained student is expected to avoid (our choice)."""


def pays_after(trained: int, student: Macs, teacher: Macs) -> float:
    """Returns after how many avoidable answers of the teacher training begins to pay.

    Args:
        trained: images in the training steps that it is expected to take; the teacher looks at each of them too.
        student: work of an image.
        teacher: likewise.
    """
    cost = AdaptationWork(labelled=trained, trained=trained, validated=0).flops(student, teacher)
    return cost / (SAVED * teacher.flops)
