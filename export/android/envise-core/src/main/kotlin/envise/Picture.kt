package envise

/**
 * How the stored rows of a picture lie, by the values of EXIF's orientation tag.
 *
 * @property exif 1..8.
 */
public enum class Orientation(
    public val exif: Int,
    internal val swapsSides: Boolean,
    internal val mirrorsColumns: Boolean,
    internal val mirrorsRows: Boolean,
) {
    UPRIGHT(1, false, false, false),
    MIRRORED(2, false, true, false),
    HALF_TURNED(3, false, true, true),
    UPSIDE_DOWN_MIRRORED(4, false, false, true),
    TRANSPOSED(5, true, false, false),

    /** To be turned by 90 degrees clockwise, as most phones' cameras hand out frames in portrait. */
    QUARTER_TURNED(6, true, false, true),
    TRANSVERSED(7, true, true, true),

    /** To be turned by 270 degrees clockwise. */
    THREE_QUARTERS_TURNED(8, true, true, false);

    public companion object {
        /** Returns the orientation by the value of EXIF's tag; [UPRIGHT] where the tag is missing (0) or says nothing that EXIF knows. */
        @JvmStatic
        public fun ofExif(tag: Int): Orientation = entries.firstOrNull { it.exif == tag } ?: UPRIGHT

        /** Returns the orientation of a picture that [degrees] clockwise (0, 90, 180 or 270) turn upright. */
        @JvmStatic
        public fun ofDegrees(degrees: Int): Orientation = when (degrees) {
            0 -> UPRIGHT
            90 -> QUARTER_TURNED
            180 -> HALF_TURNED
            270 -> THREE_QUARTERS_TURNED
            else -> throw IllegalArgumentException("$degrees degrees: expected 0, 90, 180 or 270")
        }
    }
}

/**
 * A picture as a camera or a decoder hands it out.
 *
 * @property storedWidth of its rows as they are stored, in pixels.
 * @property storedHeight number of stored rows.
 */
public abstract class Picture internal constructor(
    internal val storedWidth: Int,
    internal val storedHeight: Int,
    private val orientation: Orientation,
) {
    init {
        require(storedWidth > 0 && storedHeight > 0) { "a picture of $storedWidth x $storedHeight pixels: expected at least 1 x 1" }
    }

    /** In pixels, of the upright picture. */
    public val width: Int = if (orientation.swapsSides) storedHeight else storedWidth

    /** In pixels, of the upright picture. */
    public val height: Int = if (orientation.swapsSides) storedWidth else storedHeight

    /** Writes [count] pixels of an upright row, from column [left] on, as RGB bytes to the start of [rgb]. */
    internal fun readRow(row: Int, left: Int, count: Int, rgb: ByteArray) {
        for (index in 0 until count) {
            val x = if (orientation.swapsSides) row else left + index
            val y = if (orientation.swapsSides) left + index else row
            readPixel(
                if (orientation.mirrorsColumns) storedWidth - 1 - x else x,
                if (orientation.mirrorsRows) storedHeight - 1 - y else y,
                rgb,
                3 * index,
            )
        }
    }

    /** Writes the pixel in a stored column and row as three bytes RGB to [rgb] at [at]. */
    internal abstract fun readPixel(x: Int, y: Int, rgb: ByteArray, at: Int)
}

/**
 * Four bytes a pixel, RGBA, 0..255, not premultiplied; transparency is laid over white.
 *
 * @param rowStride bytes from one row to the next, at least 4 * width.
 * @throws WrongImage there are fewer bytes than that.
 */
public class RgbaPicture @JvmOverloads constructor(
    private val pixels: ByteArray,
    width: Int,
    height: Int,
    orientation: Orientation = Orientation.UPRIGHT,
    private val rowStride: Int = 4 * width,
) : Picture(width, height, orientation) {
    init {
        require(rowStride >= 4 * width) { "a row stride of $rowStride bytes: expected at least ${4 * width}" }
        val least = rowStride.toLong() * (height - 1) + 4L * width
        if (pixels.size < least) throw WrongImage("${pixels.size} bytes", "at least $least: RGBA of $width x $height pixels")
    }

    override fun readPixel(x: Int, y: Int, rgb: ByteArray, at: Int) {
        val from = y * rowStride + 4 * x
        val alpha = pixels[from + 3].toInt() and 0xFF
        for (channel in 0..2) {
            rgb[at + channel] = overWhite(pixels[from + channel].toInt() and 0xFF, alpha).toByte()
        }
    }

    /** (value * alpha + 255 * (255 - alpha)) / 255, rounded. */
    private fun overWhite(value: Int, alpha: Int) = (value * alpha + 255 * (255 - alpha) + 127) / 255
}

/**
 * A camera's NV21: the brightness of each pixel, then V and U in turns of each two by two pixels.
 *
 * The colours are those of JFIF: BT.601 in the full range 0..255, which Android's cameras give.
 *
 * @throws WrongImage there are fewer bytes than that.
 */
public class Nv21Picture @JvmOverloads constructor(
    private val bytes: ByteArray,
    width: Int,
    height: Int,
    orientation: Orientation = Orientation.UPRIGHT,
) : Picture(width, height, orientation) {
    private val chromaStride = (width + 1) / 2 * 2

    init {
        val least = width.toLong() * height + chromaStride.toLong() * ((height + 1) / 2)
        if (bytes.size < least) throw WrongImage("${bytes.size} bytes", "at least $least: NV21 of $width x $height pixels")
    }

    override fun readPixel(x: Int, y: Int, rgb: ByteArray, at: Int) {
        val brightness = (bytes[y * storedWidth + x].toInt() and 0xFF) + 0.5f
        val chroma = storedWidth * storedHeight + y / 2 * chromaStride + x / 2 * 2
        val v = (bytes[chroma].toInt() and 0xFF) - 128
        val u = (bytes[chroma + 1].toInt() and 0xFF) - 128
        rgb[at] = clipped(brightness + 1.402f * v)
        rgb[at + 1] = clipped(brightness - 0.344136f * u - 0.714136f * v)
        rgb[at + 2] = clipped(brightness + 1.772f * u)
    }

    private fun clipped(value: Float) = value.coerceIn(0f, 255f).toInt().toByte()
}
