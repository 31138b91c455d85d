package envise

import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.condition.EnabledIfSystemProperty
import java.io.File
import java.nio.ByteBuffer
import java.util.concurrent.LinkedBlockingQueue
import kotlin.math.abs
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

/**
 * The files of bundles that Python has just written, run in TensorFlow Lite, against what they said there.
 *
 * `envise.bundles` names the folders, as a class path names its own.
 */
@EnabledIfSystemProperty(named = "envise.bundles", matches = ".+", disabledReason = "pytest hands bundles over")
class RealInferenceTest {
    private val folders = System.getProperty("envise.bundles").orEmpty().split(File.pathSeparator).map { File(it) }

    private fun tests(check: (Bundle) -> Unit) = folders.map { DynamicTest.dynamicTest(it.path) { check(Bundle.load(it)) } }

    @TestFactory
    fun `the stock files answer the golden images as in Python`() = tests { bundle ->
        Cascade(bundle, ::TfliteNetwork, builtin = true).use { bundle.golden().check(it) }
    }

    @TestFactory
    fun `the teacher gives the numbers of Python`() = tests { bundle ->
        val golden = bundle.golden()
        val entry = bundle.manifest.teacher
        TfliteNetwork(bundle.network(entry)).use { teacher ->
            golden.images.forEachIndexed { row, image ->
                val logits = teacher.run(direct(image))[entry.logitsOutput]
                assertClose(golden.row("teacher_logits", row), logits, FLOAT)
                bundle.manifest.adaptation?.let { assertClose(golden.row("adapted_logits", row), it.adapted(logits), FLOAT) }
            }
        }
    }

    @TestFactory
    fun `the student of stock operators gives the numbers of Python`() = folders.map { folder ->
        DynamicTest.dynamicTest(folder.path) {
            val bundle = Bundle.load(folder)
            val golden = bundle.golden()
            val entry = bundle.manifest.builtinStudent
            val tolerance = if ("twin_int8" in File(folder, "manifest.json").readText()) INT8 else FLOAT
            TfliteNetwork(bundle.network(entry)).use { student ->
                golden.images.forEachIndexed { row, image ->
                    val said = student.run(direct(image))
                    assertClose(golden.row("builtin_logits", row), said[entry.logitsOutput], tolerance)
                    assertClose(golden.row("builtin_score", row), said[entry.scoreOutput], tolerance)
                }
            }
        }
    }

    /** Its operators run on phones alone, so it says what it said in Python; the teacher is real. */
    @TestFactory
    fun `the binary student's golden scores lead to the golden answers`() = tests { bundle ->
        if (bundle.manifest.student == null) return@tests
        val golden = bundle.golden()
        Cascade(bundle, { file -> if (file.runtime == Runtime.LCE) Replayed(golden, bundle.manifest.student!!) else TfliteNetwork(file) })
            .use { golden.check(it) }
    }

    @TestFactory
    fun `a live stream answers the golden images as a cascade does`() = tests { bundle ->
        val golden = bundle.golden()
        val results = LinkedBlockingQueue<Classification>()
        val options = ClassifierOptions.builder()
            .setRunningMode(RunningMode.LIVE_STREAM)
            .setBuiltin(true)
            .setResultListener { results.add(it) }
            .build()
        val expected = Cascade(bundle, ::TfliteNetwork, builtin = true).use { cascade -> golden.images.map { cascade.classify(it) } }
        ImageClassifier.create(bundle, ::TfliteNetwork, options).use { live ->
            live.checkGolden()
            val found = golden.images.mapIndexed { index, image ->
                live.classifyAsync(picture(image, bundle.manifest.imageSize), index.toLong())
                results.take()
            }
            assertEquals(expected, found.map { it.answer })
            assertTrue(found.all { it.categories.first().index == it.answer.label })
            assertTrue(found.all { abs(it.categories.sumOf { category -> category.score.toDouble() } - 1) < 1e-4 })
        }
    }

    @TestFactory
    fun `the binary student is refused by stock TensorFlow Lite`() = tests { bundle ->
        if (bundle.manifest.student == null) return@tests
        val failure = assertFailsWith<RefusedNetwork> { Cascade(bundle, ::TfliteNetwork) }
        assertTrue("the interpreter refuses student.tflite" in failure.message!!)
    }

    private fun picture(rgb: ByteArray, size: Int) =
        RgbaPicture(ByteArray(4 * size * size) { if (it % 4 == 3) -1 else rgb[it / 4 * 3 + it % 4] }, size, size)

    /** The tolerance is a share of the largest number. */
    private fun assertClose(expected: FloatArray, found: FloatArray, tolerance: Float) {
        assertEquals(expected.size, found.size)
        val off = expected.indices.maxOf { abs(expected[it] - found[it]) }
        val most = tolerance * expected.maxOf { abs(it) }
        assertTrue(off <= most, "off by $off, expected at most $most")
    }

    /** A network that knows the golden images and says of each what the golden file has. */
    private class Replayed(private val golden: Golden, private val student: StudentEntry) : Network {
        override fun run(image: ByteBuffer): List<FloatArray> {
            val content = ByteArray(image.remaining()).also { image.get(it) }
            val row = golden.images.indexOfFirst { it.contentEquals(content) }
            val outputs = mapOf(student.logitsOutput to "student_logits", student.scoreOutput to "student_score")
            return List(3) { index -> outputs[index]?.let { golden.row(it, row) } ?: FloatArray(0) }
        }

        override fun close() = Unit
    }

    private companion object {
        /** float32 sums in another order. */
        const val FLOAT = 1e-4f

        /** Kernels round to the step next to it, and layers add that up: 0.03 was seen. */
        const val INT8 = 0.1f
    }
}

private fun direct(image: ByteArray): ByteBuffer = ByteBuffer.allocateDirect(image.size).apply { put(image).rewind() }

/** What a network said of a golden image where the bundle was written. */
private fun Golden.row(name: String, image: Int): FloatArray {
    val numbers = floats(name)
    val each = numbers.size / images.size
    return numbers.copyOfRange(image * each, (image + 1) * each)
}
