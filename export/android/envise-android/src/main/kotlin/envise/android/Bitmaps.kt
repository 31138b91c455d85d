@file:JvmName("Bitmaps")

package envise.android

import android.graphics.Bitmap
import envise.Orientation
import envise.Picture
import envise.RgbaPicture

/**
 * Returns a copy of a bitmap's pixels as a picture; the bitmap may be recycled afterwards.
 *
 * @param orientation how the bitmap lies: `BitmapFactory` does not turn photographs upright, EXIF says by how much.
 */
@JvmOverloads
public fun Bitmap.toPicture(orientation: Orientation = Orientation.UPRIGHT): Picture {
    val colours = IntArray(width * height)
    readable().getPixels(colours, 0, width, 0, 0, width, height)
    val pixels = ByteArray(4 * colours.size)
    colours.forEachIndexed { index, argb ->
        pixels[4 * index] = (argb shr 16).toByte()
        pixels[4 * index + 1] = (argb shr 8).toByte()
        pixels[4 * index + 2] = argb.toByte()
        pixels[4 * index + 3] = (argb ushr 24).toByte()
    }
    return RgbaPicture(pixels, width, height, orientation)
}

/** Returns a bitmap whose pixels the processor can read: those of Bitmap.Config.HARDWARE, of Android 8, it cannot. */
private fun Bitmap.readable(): Bitmap = if (config?.name == "HARDWARE") copy(Bitmap.Config.ARGB_8888, false) else this
