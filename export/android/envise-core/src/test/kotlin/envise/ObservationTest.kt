package envise

import com.google.gson.JsonArray
import com.google.gson.JsonObject
import com.google.gson.JsonParser
import org.junit.jupiter.api.TestFactory
import java.nio.ByteBuffer
import java.util.Random
import kotlin.math.abs
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

class ObservationTest {
    private val vectors = Vectors.of("observations.json").asJsonObject
    private val image = ByteArray(4 * 4 * 3)

    @TestFactory
    fun streams() = Vectors.tests(vectors.get("streams")) { Stream(it).check() }

    @TestFactory
    fun states() = Vectors.tests(vectors.get("states")) { case ->
        val bundle = bundleOf(THRESHOLDS, case.get("adaptation"))
        val state = case.get("state").toString()
        val found = runCatching { Observation(bundle, ObservationOptions(0.25, 100, state)) }
        assertEquals(case.orNull("error")?.asString, found.exceptionOrNull()?.javaClass?.simpleName)
        found.onSuccess { assertAlmostEquals(JsonParser.parseString(state).asJsonObject, JsonParser.parseString(it.state()).asJsonObject) }
    }

    @TestFactory
    fun refused() = Vectors.tests(vectors.get("refused")) { case ->
        val teacher = Saying(listOf(numbers(case.get("teacher_logits"))))
        val cascade = Cascade(
            bundleOf(THRESHOLDS, case.get("adaptation")),
            { if (it.name == "teacher.tflite") teacher else Saying(Saying.student(FloatArray(3), -1f)) },
        )
        val failure = assertFailsWith<EnviseException> {
            cascade.observe()
            cascade.classify(image)
        }
        assertEquals(case.text("error"), failure.javaClass.simpleName)
        assertEquals(0, cascade.observation?.images ?: 0)
    }

    @Test
    fun `a text that is no JSON is no state`() {
        assertFailsWith<WrongState> { Observation(Bundle.load(inMemory(INTACT)), ObservationOptions(state = "{")) }
    }

    @Test
    fun `numbers out of their range are refused`() {
        for (share in listOf(0.0, -0.1, 1.1, Double.NaN)) {
            assertFailsWith<IllegalArgumentException> { ObservationOptions(auditShare = share) }
        }
        assertFailsWith<IllegalArgumentException> { ObservationOptions(window = 99) }
    }

    @Test
    fun `the golden images are no part of the stream`() {
        val bundle = Bundle.load(inMemory(INTACT))
        val deferring = Cascade(bundle, { Saying(if (it.name == "teacher.tflite") listOf(FloatArray(5)) else Saying.student(FloatArray(3), -1f)) })
        deferring.observe()
        assertFailsWith<GoldenMismatch> { bundle.golden().check(deferring) }
        assertEquals(0, deferring.observation!!.images)
    }

    /** A cascade that is shown the images of a case one by one. */
    private inner class Stream(private val case: JsonObject) {
        private val student = Saying(emptyList())
        private val teacher = Saying(emptyList())
        private val draws = Draws()
        private val cascade = Cascade(
            bundleOf(case.getAsJsonArray("thresholds"), case.get("adaptation")),
            { if (it.name == "teacher.tflite") teacher else student },
        )

        fun check() {
            observe(case.get("window").asInt, null)
            case.orNull("limit")?.asJsonArray?.let { cascade.limit(DeferralLimit(it[0].asDouble, it[1].asInt)) }
            val images = case.getAsJsonArray("images").map { numbers(it) }
            images.forEachIndexed { index, said ->
                case.orNull("restart")?.asJsonObject?.takeIf { it.get("after").asInt == index }?.let { restart(it) }
                student.outputs = Saying.student(said.copyOfRange(0, 3), said[3])
                teacher.outputs = listOf(said.copyOfRange(4, 9))
                draws.next = said[9].toDouble()
                val answer = cascade.classify(image)
                val (label, byStudent, promised) = case.getAsJsonArray("answers")[index].asJsonArray.toList()
                assertEquals(label.asInt, answer.label, "image $index")
                assertEquals(byStudent.asBoolean to promised.asBoolean, answer.byStudent to answer.promised, "image $index")
                if ((index + 1) % EVERY == 0) checkPrior(case.getAsJsonArray("priors")[index / EVERY].asJsonArray, index)
            }
            assertEquals(images.size / EVERY, case.getAsJsonArray("priors").size())
            val counts = cascade.statistics.run { listOf(answered, deferred, audited, unpromised) }
            assertEquals(case.getAsJsonArray("counts").map { it.asInt }, counts)
        }

        private fun observe(window: Int, state: String?) =
            cascade.observe(ObservationOptions(case.get("audit_share").asDouble, window, state, draws))

        private fun restart(restart: JsonObject) {
            val state = restart.getAsJsonObject("state")
            assertAlmostEquals(state, JsonParser.parseString(cascade.observation!!.state()).asJsonObject)
            observe(restart.get("window").asInt, state.toString())
        }

        private fun checkPrior(expected: JsonArray, image: Int) =
            expected.zip(cascade.observation!!.prior).forEach { (share, found) ->
                assertEquals(share.asDouble, found, TOLERANCE, "after image $image")
            }
    }

    private class Draws : Random() {
        var next = 0.0

        override fun nextDouble() = next
    }

    private fun assertAlmostEquals(expected: JsonObject, found: JsonObject) {
        assertEquals(expected.keySet(), found.keySet())
        assertEquals(expected.get("teacher"), found.get("teacher"))
        assertEquals(expected.get("weights"), found.get("weights"))
        expected.getAsJsonArray("prior").zip(found.getAsJsonArray("prior")).forEach { (one, other) ->
            assertEquals(one.asDouble, other.asDouble, TOLERANCE)
        }
        val (one, other) = listOf(expected, found).map { floats(bytes(it.get("ratios"))) }
        assertEquals(one.size, other.size)
        assertTrue(one.indices.all { abs(one[it] - other[it]) <= 1e-6 * one[it] })
    }

    private fun floats(content: ByteArray): FloatArray {
        val buffer = ByteBuffer.wrap(content).order(java.nio.ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        return FloatArray(buffer.remaining()).also { buffer.get(it) }
    }

    private companion object {
        const val EVERY = 20

        /** EM stops when no share moves by more than 1e-5, and Python sums in float32. */
        const val TOLERANCE = 2e-5
        val THRESHOLDS: JsonArray = JsonParser.parseString("[0, 0, 0]").asJsonArray
    }
}
