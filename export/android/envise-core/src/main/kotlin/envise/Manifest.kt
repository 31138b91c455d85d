package envise

import com.google.gson.JsonArray
import com.google.gson.JsonElement
import com.google.gson.JsonObject
import kotlin.math.abs

/** What an interpreter must know to run a file: [LCE] is that of Larq Compute Engine, [TFLITE] any TensorFlow Lite. */
public enum class Runtime { LCE, TFLITE }

/**
 * What the manifest says of a file.
 *
 * @property name in the bundle.
 * @property bytes its size, at least 1.
 * @property sha256 64 hexadecimal digits.
 */
public data class FileEntry(val name: String, val bytes: Long, val sha256: String)

/**
 * A student by the manifest.
 *
 * @property score name of the outlier score that its graph computes.
 * @property logitsOutput index of the logits, (1, student's classes), in the interpreter's list of outputs.
 * @property scoreOutput index of the score, (1, 1), in the same list.
 * @property thresholds one per class of the student; +infinity where the class is always deferred.
 * @property expectedDeferralRate share of the stream's images that the teacher has to answer, 0..1.
 */
public data class StudentEntry(
    val file: FileEntry,
    val runtime: Runtime,
    val score: String,
    val logitsOutput: Int,
    val scoreOutput: Int,
    val thresholds: List<Float>,
    val expectedDeferralRate: Double,
)

/** The teacher by the manifest; [logitsOutput] is the index of its logits, (1, teacher's classes), in the list of outputs. */
public data class TeacherEntry(val file: FileEntry, val runtime: Runtime, val logitsOutput: Int)

/**
 * All that an app has to know of a bundle; docs/export.md and the schema describe the file.
 *
 * @property imageSize height and width in pixels of the images that every network takes.
 * @property classNames of the teacher's classes.
 * @property teacherClasses the teacher's class of each of the student's.
 * @property student the binary student; null in a bundle of a twin alone.
 * @property adaptation null where the teacher answers by its logits as they are.
 * @property goldenImages number of images in the golden file.
 */
@ConsistentCopyVisibility
public data class Manifest internal constructor(
    val name: String,
    val imageSize: Int,
    val classNames: List<String>,
    val teacherClasses: List<Int>,
    val student: StudentEntry?,
    val builtinStudent: StudentEntry,
    val teacher: TeacherEntry,
    val adaptation: Adaptation?,
    val labels: FileEntry,
    val golden: FileEntry,
    val goldenImages: Int,
    /** Of the teacher's file and its calibration, on which its calibrated logits depend; null of a raw teacher. */
    internal val teacherFingerprint: String?,
) {
    /** The entries of all files, in the order in which they are checked. */
    val files: List<FileEntry>
        get() = listOfNotNull(student?.file, builtinStudent.file, teacher.file, labels, golden)

    internal companion object {
        private val READ_VERSIONS = 1..2

        /** Returns the manifest in the bytes of manifest.json; its schema version is looked at before all else. */
        fun of(content: ByteArray): Manifest {
            val json = json(content)
            (json as? JsonObject)?.get("schema_version").integerOrNull?.let {
                if (it !in READ_VERSIONS) throw UnknownSchemaVersion(it.toString())
            }
            Schema.OF_MANIFESTS.check(json)
            return json.asJsonObject.manifest().also { it.checkFit() }
        }

        private fun Manifest.checkFit() {
            for (entry in listOfNotNull(student, builtinStudent)) {
                val name = entry.file.name
                checkFit(entry.thresholds.size == teacherClasses.size) {
                    "$name has ${entry.thresholds.size} thresholds, expected ${teacherClasses.size}: one for each of its classes"
                }
            }
            checkFit(teacherClasses.all { it < classNames.size }) {
                "teacher_classes has class ${teacherClasses.max()}, expected 0 to ${classNames.size - 1}"
            }
            adaptation?.checkFit(classNames.size)
        }

        private fun Adaptation.checkFit(classes: Int) {
            for ((key, values) in mapOf("bias" to bias, "prior" to prior, "source_prior" to sourcePrior)) {
                checkFit(values.size == classes) { "adaptation has a $key of ${values.size} numbers, expected $classes" }
                checkFit(key == "bias" || abs(values.sum() - 1) <= PRIOR_TOLERANCE) {
                    "adaptation has a $key that sums to ${values.sum()}, expected shares that sum to 1"
                }
            }
        }
    }
}

private inline fun checkFit(fits: Boolean, reason: () -> String) {
    if (!fits) throw Misfit(reason())
}

private fun JsonObject.manifest() = Manifest(
    name = get("name").asString,
    imageSize = getAsJsonObject("input").get("size").asDouble.toInt(),
    classNames = getAsJsonArray("class_names").map { it.asString },
    teacherClasses = getAsJsonArray("teacher_classes").map { it.asDouble.toInt() },
    student = getAsJsonObject("student")?.student(),
    builtinStudent = getAsJsonObject("student_builtin").student(),
    teacher = getAsJsonObject("teacher").run { TeacherEntry(file(), runtime(), output("logits")) },
    adaptation = getAsJsonObject("adaptation")?.adaptation(),
    labels = getAsJsonObject("labels").file(),
    golden = getAsJsonObject("golden").file(),
    goldenImages = getAsJsonObject("golden").get("images").asDouble.toInt(),
    teacherFingerprint = getAsJsonObject("adaptation")?.fingerprint(getAsJsonObject("teacher").get("sha256").asString),
)

private fun JsonObject.student(): StudentEntry {
    val outputs = listOf("logits", "probabilities", "score").map { output(it) }
    val name = get("file").asString
    checkFit(outputs.distinct().size == outputs.size) { "$name has the outputs $outputs, expected an index of its own for each" }
    return StudentEntry(
        file(),
        runtime(),
        get("score").asString,
        logitsOutput = output("logits"),
        scoreOutput = output("score"),
        thresholds = getAsJsonObject("threshold").getAsJsonArray("values").map { it.threshold(name) },
        expectedDeferralRate = getAsJsonObject("expected").get("deferral_rate").asDouble,
    )
}

private fun JsonElement.threshold(name: String): Float {
    if (isJsonNull) return Float.POSITIVE_INFINITY
    checkFit(abs(asDouble) <= Float.MAX_VALUE.toDouble()) { "$name has the threshold $asString, expected a finite float32, or null" }
    return asDouble.toFloat()
}

private fun JsonObject.adaptation() = Adaptation(
    temperature = get("temperature").asDouble,
    bias = getAsJsonArray("bias").doubles(),
    prior = getAsJsonArray("prior").doubles(),
    sourcePrior = getAsJsonArray("source_prior").doubles(),
)

/** As `envise_tf.export.observation` names a teacher: of the numbers as the manifest writes them. */
private fun JsonObject.fingerprint(teacher: String): String {
    fun list(values: Iterable<String>) = values.joinToString(prefix = "[", postfix = "]")
    val (bias, sourcePrior) = listOf("bias", "source_prior").map { key -> list(getAsJsonArray(key).map { it.asString }) }
    val calibration = list(listOf(get("temperature").asString, bias, sourcePrior))
    return sha256(list(listOf("\"$teacher\"", calibration)).toByteArray())
}

private fun JsonObject.file() = FileEntry(get("file").asString, get("bytes").asDouble.toLong(), get("sha256").asString)

private fun JsonObject.runtime() = Runtime.valueOf(get("runtime").asString.uppercase())

private fun JsonObject.output(name: String) = getAsJsonObject("outputs").get(name).asDouble.toInt()

private fun JsonArray.doubles() = map { it.asDouble }
