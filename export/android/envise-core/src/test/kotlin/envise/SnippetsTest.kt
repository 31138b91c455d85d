package envise

import java.io.File
import kotlin.io.path.createTempDirectory
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFalse

/** docs/android.md may quote what stands between the marks. */
class SnippetsTest {
    private val folder = createTempDirectory().toFile()
    private val picture = RgbaPicture(ByteArray(4 * 4 * 4), 4, 4)
    private val loader = NetworkLoader { Saying(if (it.name == "teacher.tflite") listOf(FloatArray(5)) else Saying.student(FloatArray(3), -1f)) }

    init {
        for ((name, content) in INTACT) File(folder, name).writeBytes(content)
    }

    @Test
    fun `the prior is kept over a restart`() {
        val kept = File(folder, "observation.json")
        for (run in 1..2) {
            // [start observation]
            val cascade = Cascade(Bundle.load(folder), loader)
            cascade.observe(ObservationOptions(auditShare = 0.05, window = 1000, state = kept.takeIf { it.exists() }?.readText()))
            val answer = cascade.classify(picture)          // by the teacher now and then: an audit
            kept.writeText(cascade.observation!!.state())   // before the app ends
            // [end observation]
            assertFalse(answer.byStudent)
            assertEquals(run, cascade.observation!!.images)
        }
        folder.deleteRecursively()
    }

    @Test
    fun `what is not promised is shown as unsure`() {
        val shown = mutableListOf<Answer>()
        fun showAsUnsure(answer: Answer) = shown.add(answer)
        // [start limit]
        val cascade = Cascade(Bundle.load(folder), loader)
        cascade.limit(DeferralLimit(mostDeferred = 0.3, window = 1000))   // or ClassifierOptions.Builder.setLimit
        val answer = cascade.classify(picture)
        if (!answer.promised) showAsUnsure(answer)                        // the student was not sure, and the teacher not asked
        // [end limit]
        assertEquals(emptyList(), shown.toList())
        folder.deleteRecursively()
    }
}
