package envise

import com.google.gson.JsonObject
import com.google.gson.JsonParser
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.condition.EnabledIfSystemProperty
import java.awt.image.BufferedImage
import java.io.File
import javax.imageio.ImageIO
import kotlin.math.abs
import kotlin.test.assertEquals
import kotlin.test.assertTrue

class PicturesTest {
    @TestFactory
    fun `random pixels`() = Vectors.tests(Vectors.of("pictures.json")) { check(it, File("none")) }

    @TestFactory
    fun photographs() = Vectors.tests(Vectors.of("photographs.json")) {
        check(it, File(PicturesTest::class.java.getResource("/photographs")!!.toURI()))
    }

    /** Whole photographs, too large to be stored here: Python hands over their folder. */
    @TestFactory
    @EnabledIfSystemProperty(named = "envise.photographs", matches = ".+", disabledReason = "pytest hands the folder over")
    fun `whole photographs`(): List<DynamicTest> {
        val folder = File(System.getProperty("envise.photographs"))
        return Vectors.tests(JsonParser.parseString(File(folder, "photographs.json").readText())) { check(it, folder) }
    }

    private fun check(case: JsonObject, folder: File) {
        val found = CentralSquare(case.get("size").asInt).of(picture(case, folder))
        val expected = bytes(case.get("square"))
        assertEquals(expected.size, found.size)
        val off = found.zip(expected) { one, other -> abs((one.toInt() and 0xFF) - (other.toInt() and 0xFF)) }
        // Pillow's own conversion from YCbCr is one in whole numbers, so a grey level apart.
        assertTrue(off.max() <= if (case.text("layout") == "nv21") 1 else 0, "off by ${off.max()} grey levels")
    }

    private fun picture(case: JsonObject, folder: File): Picture {
        val (width, height) = listOf("width", "height").map { case.get(it).asInt }
        val orientation = Orientation.entries.single { it.exif == case.get("orientation").asInt }
        return when (case.text("layout")) {
            "png" -> RgbaPicture(rgba(ImageIO.read(File(folder, case.text("file")))), width, height, orientation)
            "rgba" -> RgbaPicture(bytes(case.get("pixels")), width, height, orientation)
            "nv21" -> Nv21Picture(bytes(case.get("pixels")), width, height, orientation)
            else -> error("a case of layout ${case.text("layout")}")
        }
    }

    private fun rgba(image: BufferedImage) =
        image.getRGB(0, 0, image.width, image.height, null, 0, image.width)
            .flatMap { listOf(it shr 16, it shr 8, it, it ushr 24) }
            .map { it.toByte() }
            .toByteArray()
}
