package envise.android

import android.graphics.Bitmap
import android.graphics.Color
import envise.CentralSquare
import envise.Nv21Picture
import envise.Orientation
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
@Config(sdk = [21, 34])
class PicturesTest {
    private val random = Random(1)

    @Test
    fun `a bitmap gives the same square as its bytes`() {
        val pixels = random.nextBytes(4 * 6 * 5)
        val bitmap = Bitmap.createBitmap(6, 5, Bitmap.Config.ARGB_8888)
        for (y in 0 until 5) for (x in 0 until 6) {
            val (r, g, b, a) = List(4) { pixels[4 * (6 * y + x) + it].toInt() and 0xFF }
            bitmap.setPixel(x, y, Color.argb(a, r, g, b))
        }
        for (orientation in Orientation.entries) {
            val expected = CentralSquare(4).of(RgbaPicture(pixels, 6, 5, orientation))
            assertContentEquals(expected, CentralSquare(4).of(bitmap.toPicture(orientation)), "$orientation")
        }
    }
}
