package envise

import com.google.gson.JsonObject
import org.junit.jupiter.api.TestFactory
import kotlin.math.abs
import kotlin.test.assertEquals
import kotlin.test.assertTrue

class DecisionsTest {
    private val picture = RgbaPicture(ByteArray(4 * 4 * 4), 4, 4)

    @TestFactory
    fun decisions() = Vectors.tests(Vectors.of("decisions.json")) { case ->
        val bundle = bundleOf(case.getAsJsonArray("thresholds"), case.get("adaptation"))
        val said = mapOf(
            "student.tflite" to Saying.student(numbers(case.get("student_logits")), number(case.get("score"))),
            "teacher.tflite" to listOf(numbers(case.get("teacher_logits"))),
        )
        ImageClassifier.create(bundle, { Saying(said.getValue(it.name)) }, options(case.orNull("options")?.asJsonObject)).use { classifier ->
            val found = runCatching { classifier.classify(picture) }
            if (case.has("error")) {
                assertEquals(case.text("error"), found.exceptionOrNull()?.javaClass?.simpleName)
            } else {
                checkAnswer(case, bundle, found.getOrThrow().answer)
                assertEquals(if (case.get("by_student").asBoolean) 1 to 0 else 0 to 1, classifier.statistics.run { answered to deferred })
                checkCategories(case, bundle, found.getOrThrow())
            }
        }
    }

    private fun options(wanted: JsonObject?) = ClassifierOptions.builder().apply {
        wanted?.get("max_results")?.let { setMaxResults(it.asInt) }
        wanted?.get("score_threshold")?.let { setScoreThreshold(it.asFloat) }
        wanted?.get("allowlist")?.let { list -> setCategoryAllowlist(list.asJsonArray.map { it.asString }) }
        wanted?.get("denylist")?.let { list -> setCategoryDenylist(list.asJsonArray.map { it.asString }) }
    }.build()

    private fun checkAnswer(case: JsonObject, bundle: Bundle, answer: Answer) {
        assertEquals(case.get("label").asInt to case.get("by_student").asBoolean, answer.label to answer.byStudent)
        assertEquals(bundle.manifest.classNames[answer.label], answer.name)
        case.orNull("adapted")?.let {
            val adapted = bundle.manifest.adaptation!!.adapted(numbers(case.get("teacher_logits")))
            numbers(it).zip(adapted).forEach { (expected, value) ->
                assertTrue(expected == value || abs(expected - value) <= Math.ulp(expected), "$value, expected $expected")
            }
        }
    }

    private fun checkCategories(case: JsonObject, bundle: Bundle, found: Classification) {
        val expected = case.orNull("categories")?.asJsonArray?.map { it.asJsonArray } ?: return
        assertEquals(expected.map { it[0].asInt }, found.categories.map { it.index })
        found.categories.zip(expected) { category, pair ->
            assertEquals(bundle.manifest.classNames[category.index], category.name)
            assertEquals(pair[1].asDouble, category.score.toDouble(), 1e-6)
        }
    }
}
