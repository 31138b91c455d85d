package envise

import kotlin.math.abs

/**
 * The upright central square of a picture, resized as Pillow's BILINEAR does, so as the networks were trained.
 *
 * Each pixel of the result is a mean of the source, weighted by a triangle that is as wide as the reduction: first along
 * the rows, then along the columns, rounded to bytes after each.
 *
 * @param size height and width of the result in pixels.
 */
public class CentralSquare(private val size: Int) {
    /** Of the result: size * size * 3. */
    public val bytes: Int = size * size * 3

    /** Returns the square of a picture: RGB, 0..255, row by row. */
    public fun of(picture: Picture): ByteArray {
        val side = minOf(picture.width, picture.height)
        val left = (picture.width - side) / 2
        val top = (picture.height - side) / 2
        val weights = triangles(side, size)
        val narrow = ByteArray(side * size * 3)
        val row = ByteArray(side * 3)
        for (y in 0 until side) {
            picture.readRow(top + y, left, side, row)
            for (x in 0 until size) weights[x].mean(row, 0, 3, narrow, 3 * (y * size + x))
        }
        val square = ByteArray(bytes)
        for (y in 0 until size) {
            for (x in 0 until size) weights[y].mean(narrow, 3 * x, 3 * size, square, 3 * (y * size + x))
        }
        return square
    }
}

/** Weights of the pixels from [first] on, in fixed point; they add up to 1. */
private class Weights(val first: Int, val values: IntArray) {
    /** Writes the mean of RGB pixels, [stride] bytes apart from [start] on, to [into] at [at]. */
    fun mean(pixels: ByteArray, start: Int, stride: Int, into: ByteArray, at: Int) {
        for (channel in 0..2) {
            var sum = HALF
            var from = start + first * stride + channel
            for (weight in values) {
                sum += weight * (pixels[from].toInt() and 0xFF)
                from += stride
            }
            into[at + channel] = (sum shr PRECISION).coerceIn(0, 255).toByte()
        }
    }
}

/** Bits after the point: 8 bits of a pixel, 22 of a weight, and room for the sum. */
private const val PRECISION = 22
private const val HALF = 1 shl (PRECISION - 1)

private fun triangles(from: Int, to: Int): List<Weights> {
    val scale = from.toDouble() / to
    val support = maxOf(scale, 1.0)
    return List(to) { target ->
        val centre = (target + 0.5) * scale
        val first = maxOf((centre - support + 0.5).toInt(), 0)
        val end = minOf((centre + support + 0.5).toInt(), from)
        val raw = DoubleArray(end - first) { maxOf(1 - abs((it + first - centre + 0.5) / support), 0.0) }
        val sum = raw.sum()
        Weights(first, IntArray(raw.size) { (0.5 + raw[it] / sum * (1 shl PRECISION)).toInt() })
    }
}
