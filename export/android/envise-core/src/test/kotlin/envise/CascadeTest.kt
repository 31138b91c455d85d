package envise

import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertTrue

class CascadeTest {
    private val loaded = mutableMapOf<String, Saying>()
    private val bundle = Bundle.load(inMemory(INTACT))

    private fun cascade(score: Float, teacherNumbers: Int = 5) = Cascade(bundle, { file ->
        val isTeacher = file.name == "teacher.tflite"
        val logits = FloatArray(teacherNumbers).also { it[1] = 50f }
        Saying(if (isTeacher) listOf(logits) else Saying.student(floatArrayOf(2f, 1f, 0f), score))
            .also { loaded[file.name] = it }
    })

    private val image = ByteArray(4 * 4 * 3)

    @Test
    fun `the teacher is loaded at the first deferral and both are closed once`() {
        val answering = cascade(score = 1f)
        assertEquals(Answer(4, "elk", byStudent = true, score = 1f), answering.classify(image))
        assertEquals(setOf("student.tflite"), loaded.keys)
        val deferring = cascade(score = 0f)
        assertEquals(Answer(1, "bee", byStudent = false, score = 0f), deferring.classify(image))
        assertEquals(setOf("student.tflite", "teacher.tflite"), loaded.keys)
        assertFalse(loaded.values.any { it.isClosed })
        deferring.close()
        assertTrue(loaded.values.all { it.isClosed })
        assertFailsWith<IllegalStateException> { deferring.classify(image) }
    }

    @Test
    fun `an image or an output of another size is refused`() {
        assertFailsWith<WrongImage> { cascade(1f).classify(ByteArray(47)) }
        assertFailsWith<WrongImage> { RgbaPicture(ByteArray(15), 2, 2) }
        assertFailsWith<WrongNetwork> { cascade(0f, teacherNumbers = 4).classify(image) }
    }

    @Test
    fun `beyond the budget the student answers and says that nothing is promised`() {
        val flooded = cascade(score = 0f)
        flooded.limit(DeferralLimit(0.5, window = 4))
        val answers = List(6) { flooded.classify(image) }
        assertEquals(listOf(false, false, true, true, false, false), answers.map { it.byStudent })
        assertEquals(answers.map { !it.byStudent }, answers.map { it.promised })
        assertEquals(Answer(4, "elk", byStudent = true, score = 0f, promised = false), answers[2])
        assertEquals(listOf(0, 4, 2), flooded.statistics.run { listOf(answered, deferred, unpromised) })
    }

    @Test
    fun `the golden images cost no budget`() {
        val flooded = cascade(score = 0f)
        flooded.limit(DeferralLimit(0.01, window = 100))
        repeat(3) { assertEquals(1, flooded.unobserved(image).label) }
        assertFalse(flooded.classify(image).byStudent)
        assertTrue(flooded.classify(image).byStudent)
    }

    @Test
    fun `a budget of nothing or of more than all is refused`() {
        for (share in listOf(0.0, -0.1, 1.1, 0.001, Double.NaN)) {
            assertFailsWith<IllegalArgumentException> { DeferralLimit(share, window = 100) }
        }
    }

    @Test
    fun `the golden images tell a device that answers otherwise`() {
        val golden = bundle.golden()
        assertEquals(2, golden.images.size)
        // The file says: class 4 by the student, then class 1 by the teacher.
        val failure = assertFailsWith<GoldenMismatch> { golden.check(cascade(score = 1f)) }
        assertTrue("golden image 1: class 4 by the student, expected class 1 by the teacher" in failure.message!!)
        assertFailsWith<WrongGolden> { golden.check(Cascade(bundle, { Saying(emptyList()) }, builtin = true)) }
    }

    @Test
    fun `rows may be longer than the picture`() {
        val pixels = ByteArray(2 * 12) { if (it % 12 < 8) 255.toByte() else 0 }
        val square = CentralSquare(2).of(RgbaPicture(pixels, 2, 2, rowStride = 12))
        assertTrue(square.all { it == 255.toByte() })
    }
}
