package envise

/**
 * How many images may be left to the teacher; see [Cascade.limit].
 *
 * @property mostDeferred share of any [window] images in a row, above 0, at most 1.
 * @property window images, at least 1.
 * @throws IllegalArgumentException a number is out of its range, or the share of the window is less than one image.
 */
public class DeferralLimit @JvmOverloads constructor(
    public val mostDeferred: Double,
    public val window: Int = 1000,
) {
    /** The images of any window; what rounding takes off a product, such as 0.29 * 100, is given back. */
    internal val most: Int = (mostDeferred * window + 1e-9).toInt()

    init {
        require(mostDeferred > 0 && mostDeferred <= 1 && most >= 1) {
            "at most $mostDeferred of any $window images deferred: expected a share of at least one image and at most 1"
        }
    }
}

/** What is left of a [DeferralLimit]: the numbers of the latest images that were left to the teacher, in a ring. */
internal class DeferralBudget(private val limit: DeferralLimit) {
    private val granted = LongArray(limit.most) { -limit.window.toLong() }
    private var oldest = 0
    private var images = 0L

    /** Whether the next image could not be left to the teacher. */
    val isSpent: Boolean
        get() = images - granted[oldest] < limit.window

    /** Returns whether the budget is open for the next image, and takes from it if that is deferred. */
    fun isOpenFor(isDeferred: Boolean): Boolean {
        val isOpen = !isSpent
        if (isDeferred && isOpen) {
            granted[oldest] = images
            oldest = (oldest + 1) % granted.size
        }
        images++
        return isOpen
    }
}
