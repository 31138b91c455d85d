package envise

import kotlin.math.abs

/**
 * The class shares of the last images of a stream, by EM on a window of likelihood ratios [Saerens et al. 2002].
 *
 * Each image counts by its weight, the reciprocal of its chance to come here [Horvitz and Thompson 1952]. Each update
 * goes on from the last estimate by a few steps, as `envise_tf.prior.estimation.WindowPrior` does, with its constants.
 *
 * @param window number of images that count.
 */
internal class WindowPrior(private val window: Int, sourcePrior: List<Double>) {
    private val classes = sourcePrior.size
    private val pseudoCounts = DoubleArray(classes) { PSEUDO_IMAGES * sourcePrior[it] }
    private val ratios = FloatArray(window * classes)
    private val weights = FloatArray(window)
    private var seen = 0L

    /** The estimate; the source prior before the first image. */
    var prior: List<Double> = sourcePrior
        private set

    /** Number of images in the window. */
    val images: Int
        get() = minOf(seen, window.toLong()).toInt()

    /** Takes in an image: its likelihood ratios, largest 1, and how many images of the stream it stands for. */
    fun update(ratios: FloatArray, weight: Float) {
        keep(ratios, 0, weight)
        var current = prior.toDoubleArray()
        for (step in 1..MOST_STEPS) {
            val stepped = stepped(current)
            val moved = current.indices.maxOf { abs(stepped[it] - current[it]) }
            current = stepped
            if (moved <= TOLERANCE) break
        }
        prior = current.asList()
    }

    /** Returns ratios, image by image, and weights of the window, oldest first. */
    fun content(): Pair<FloatArray, FloatArray> {
        val places = IntArray(images) { ((seen - images + it) % window).toInt() }
        val kept = FloatArray(images * classes)
        places.forEachIndexed { row, place -> ratios.copyInto(kept, row * classes, place * classes, (place + 1) * classes) }
        return Pair(kept, FloatArray(images) { weights[places[it]] })
    }

    /** Makes a fresh window the one that [content] and [prior] were taken of; a smaller one keeps the newest images. */
    fun restore(ratios: FloatArray, weights: FloatArray, prior: List<Double>) {
        for (row in weights.indices) keep(ratios, row * classes, weights[row])
        this.prior = prior
    }

    private fun keep(from: FloatArray, start: Int, weight: Float) {
        val place = (seen++ % window).toInt()
        from.copyInto(ratios, place * classes, start, start + classes)
        weights[place] = weight
    }

    private fun stepped(prior: DoubleArray): DoubleArray {
        // A class whose share has gone to nothing comes back from the floor in a few steps; from 0 it never would.
        val shares = DoubleArray(classes) { maxOf(prior[it], SHARE_FLOOR) }
        val counts = DoubleArray(classes)
        for (image in 0 until images) {
            val row = image * classes
            var density = 0.0
            for (label in 0 until classes) density += ratios[row + label] * shares[label]
            val weight = weights[image] / density
            for (label in 0 until classes) counts[label] += ratios[row + label] * weight
        }
        for (label in 0 until classes) counts[label] = counts[label] * shares[label] + pseudoCounts[label]
        val sum = counts.sum()
        return DoubleArray(classes) { counts[it] / sum }
    }

    private companion object {
        const val PSEUDO_IMAGES = 1.0
        const val MOST_STEPS = 10
        const val TOLERANCE = 1e-5
    }
}
