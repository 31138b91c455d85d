package envise

/**
 * Returns whether the student leaves an image to the teacher: its score misses the threshold of the class it predicts.
 *
 * A score equal to the threshold is answered. One that is not a number is deferred, and so is an image of which a logit
 * is not a number: without knowing the class there is no threshold.
 *
 * @param logits of the student, one per class of it.
 * @param score larger = more inlier.
 * @param thresholds one per class of the student; +infinity defers what is predicted as that class.
 */
internal fun isDeferred(logits: FloatArray, score: Float, thresholds: List<Float>): Boolean =
    logits.any { it.isNaN() } || !(score >= thresholds[logits.indexOfLargest()])

/** The index of the largest number, the first of equals. */
internal fun FloatArray.indexOfLargest(): Int {
    var best = 0
    for (index in 1 until size) if (this[index] > this[best]) best = index
    return best
}
