package envise.android

import android.graphics.Bitmap
import android.graphics.Color
import android.media.Image
import envise.CentralSquare
import envise.Nv21Picture
import envise.Orientation
import envise.Picture
import envise.RgbaPicture
import envise.WrongImage
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config
import java.nio.ByteBuffer
import kotlin.random.Random
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertFailsWith

@RunWith(RobolectricTestRunner::class)
@Config(sdk = [21, 34], manifest = Config.NONE)
class PicturesTest {
    private val random = Random(1)

    @Test
    fun `a bitmap gives the same square as its bytes`() {
        val pixels = random.nextBytes(4 * 6 * 5)
        val bitmap = Bitmap.createBitmap(6, 5, Bitmap.Config.ARGB_8888)
        for (y in 0 until 5) {
            for (x in 0 until 6) {
                val (r, g, b, a) = List(4) { pixels[4 * (6 * y + x) + it].toInt() and 0xFF }
                bitmap.setPixel(x, y, Color.argb(a, r, g, b))
            }
        }
        for (orientation in Orientation.entries) {
            assertSameSquare(RgbaPicture(pixels, 6, 5, orientation), bitmap.toPicture(orientation))
        }
    }

    @Test
    fun `a frame gives the same square as its NV21, whatever its strides`() {
        for ((width, height) in listOf(8 to 6, 7 to 5, 1 to 1, 2 to 9)) {
            val nv21 = random.nextBytes(width * height + 2 * ((width + 1) / 2) * ((height + 1) / 2))
            for (pixelStride in 1..3) {
                for (padding in listOf(0, 5)) {
                    val planes = planes(nv21, width, height, pixelStride, padding)
                    val orientation = Orientation.entries.random(random)
                    val expected = Nv21Picture(nv21, width, height, orientation)
                    assertSameSquare(expected, yuvPicture(planes, width, height, orientation))
                    assertSameSquare(expected, FakeImage(planes, width, height).toPicture(orientation))
                }
            }
        }
    }

    @Test
    fun `an RGBA frame may have longer rows than its picture`() {
        val pixels = random.nextBytes(4 * 5 * 3)
        val padded = ByteBuffer.allocateDirect(3 * 32)
        for (row in 0 until 3) {
            padded.position(32 * row)
            padded.put(pixels, 20 * row, 20)
        }
        assertSameSquare(RgbaPicture(pixels, 5, 3), rgbaPicture(Plane(padded, 32, 4), 5, 3))
    }

    @Test
    fun `planes that lack bytes are refused`() {
        val planes = planes(ByteArray(8 * 6 * 3 / 2), 8, 6, 2, 0)
        assertFailsWith<WrongImage> { yuvPicture(planes.take(2), 8, 6) }
        assertFailsWith<WrongImage> { yuvPicture(planes, 8, 7) }
        assertFailsWith<WrongImage> { rgbaPicture(Plane(ByteBuffer.allocateDirect(191), 32, 4), 8, 6) }
    }

    private fun assertSameSquare(expected: Picture, found: Picture) =
        assertContentEquals(CentralSquare(4).of(expected), CentralSquare(4).of(found))
}

/** The three planes of an NV21 picture with strides as some camera might have them. */
private fun planes(nv21: ByteArray, width: Int, height: Int, pixelStride: Int, padding: Int): List<Plane> {
    val (columns, rows) = Pair((width + 1) / 2, (height + 1) / 2)
    val y = plane(width, height, 1, padding) { nv21[it] }
    val u = plane(columns, rows, pixelStride, padding) { nv21[width * height + 2 * it + 1] }
    val v = plane(columns, rows, pixelStride, padding) { nv21[width * height + 2 * it] }
    return listOf(y, u, v)
}

/** A plane that ends with its last pixel, as those of cameras do, and has another place than its first as position. */
private fun plane(columns: Int, rows: Int, pixelStride: Int, padding: Int, pixel: (Int) -> Byte): Plane {
    val rowStride = columns * pixelStride + padding
    val buffer = ByteBuffer.allocateDirect((rows - 1) * rowStride + (columns - 1) * pixelStride + 1)
    for (index in 0 until columns * rows) {
        buffer.put(index / columns * rowStride + index % columns * pixelStride, pixel(index))
    }
    buffer.position(1)
    return Plane(buffer, rowStride, pixelStride)
}

private class FakeImage(private val given: List<envise.android.Plane>, private val width: Int, private val height: Int) : Image() {
    override fun getFormat() = android.graphics.ImageFormat.YUV_420_888

    override fun getWidth() = width

    override fun getHeight() = height

    override fun getTimestamp() = 0L

    override fun getPlanes() = Array<Plane>(3) {
        object : Plane() {
            override fun getRowStride() = given[it].rowStride

            override fun getPixelStride() = given[it].pixelStride

            override fun getBuffer() = given[it].buffer
        }
    }

    override fun close() = Unit
}
