package envise

import com.google.gson.JsonObject
import com.google.gson.JsonParser
import java.nio.ByteBuffer
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue

class BenchmarkTest {
    private val bundle = Bundle.load(inMemory(INTACT))
    private val loaded = mutableListOf<Counting>()

    /** A network that counts its runs; a student is sure of the first golden image, and not of the second. */
    private inner class Counting(val file: NetworkFile, val threads: Int) : Network {
        val first = bundle.golden().images[0][0]
        var runs = 0
        var isClosed = false

        override fun run(image: ByteBuffer): List<FloatArray> {
            runs++
            if (file.name == "teacher.tflite") return listOf(FloatArray(5))
            return listOf(FloatArray(3), floatArrayOf(if (image.get(0) == first) 9f else -9f), FloatArray(3))
        }

        override fun close() {
            isClosed = true
        }
    }

    private fun measured(hasBinary: Boolean, vararg threads: Int): JsonObject {
        val benchmark = Benchmark(bundle, hasBinary, rounds = 2) { count ->
            NetworkLoader { file -> Counting(file, count).also { loaded += it } }
        }
        return JsonParser.parseString(benchmark.measured(threads.toList(), mapOf("model" to "phone"))).asJsonObject
    }

    @Test
    fun `every network and every mix is timed for each number of threads`() {
        val report = measured(true, 1, 4)
        val rows = report.getAsJsonArray("times").map { it.asJsonObject }
        val found = rows.map { row -> listOf("what", "outlier_rate", "threads").map { row.get(it).toString() } }
        val expected = listOf(1, 4).flatMap { threads ->
            listOf("\"teacher\"", "\"student\"", "\"student_builtin\"").map { listOf(it, "null", "$threads") } +
                listOf("\"student\"", "\"student_builtin\"").flatMap { what ->
                    listOf("0.0", "0.05", "0.1", "0.2").map { listOf(what, it, "$threads") }
                }
        }
        assertEquals(expected, found)
        for (row in rows) {
            val rounds = row.getAsJsonArray("milliseconds").map { round -> round.asJsonArray.map { it.asDouble } }
            assertEquals(listOf(20, 20), rounds.map { it.size })
            assertTrue(rounds.flatten().all { it >= 0 })
        }
        assertEquals("phone", report.getAsJsonObject("device").get("model").asString)
        assertEquals(INTACT.getValue("manifest.sha256").decodeToString().take(64), report.get("manifest_sha256").asString)
        assertEquals(setOf("teacher", "student", "student_builtin"), report.getAsJsonObject("load_ms").keySet())
        assertTrue(loaded.all { it.isClosed })
        assertEquals(setOf(1, 4), loaded.map { it.threads }.toSet())
    }

    @Test
    fun `a mix defers exactly its share`() {
        measured(false, 1)
        val (alone, cascades) = loaded.filter { it.file.name == "teacher.tflite" }
        assertEquals(5 + 2 * 20, alone.runs)
        // One of the two golden images, when it is asked who answers; then of 20 none, 1, 2 and 4, and of the five that warm up
        // the first of each mix that has a deferred one.
        assertEquals(1 + 2 * (1 + 2 + 4) + (1 + 1 + 1), cascades.runs)
        assertEquals(setOf("teacher.tflite", "student_builtin.tflite"), loaded.map { it.file.name }.toSet())
    }
}
