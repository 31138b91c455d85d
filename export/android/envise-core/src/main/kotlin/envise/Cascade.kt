package envise

import java.nio.ByteBuffer
import java.nio.ByteOrder

/**
 * What a cascade says of one image.
 *
 * @property label in the teacher's classes, from 0.
 * @property name of that class.
 * @property byStudent whether the student answered; else the teacher did.
 * @property score the student's, larger = more inlier; not a number where the student's logits are none.
 * @property promised whether the bundle's promise covers the answer: not where the student gave it only because the budget
 *     for the teacher was spent, see [Cascade.limit].
 */
public data class Answer(
    val label: Int,
    val name: String,
    val byStudent: Boolean,
    val score: Float,
    val promised: Boolean = true,
)

/**
 * What a cascade has done since it was made.
 *
 * @property answered images that the student answered under its promise.
 * @property deferred images that it left to the teacher.
 * @property audited images that it would have answered and that the teacher answered, see [Cascade.observe].
 * @property unpromised images that it answered though it would have deferred them, see [Cascade.limit].
 * @property studentMilliseconds that the student took for all images.
 * @property teacherMilliseconds that the teacher took for those it answered, without loading it.
 */
public data class Statistics(
    val answered: Int = 0,
    val deferred: Int = 0,
    val audited: Int = 0,
    val unpromised: Int = 0,
    val studentMilliseconds: Double = 0.0,
    val teacherMilliseconds: Double = 0.0,
)

/**
 * The cascade of a bundle: the student looks at every image, the teacher only at those that the student defers.
 *
 * Any thread may call it; images are answered one after the other. Its interpreters are made and used on the threads
 * that call: one whose delegate is bound to a thread needs all calls on that thread, which a live stream's
 * [ImageClassifier] sees to. The teacher is loaded when the first image is deferred.
 *
 * @param bundle which networks, and how they decide.
 * @param loader makes an interpreter of a network's file.
 * @param builtin true takes the student of stock operators, for apps without Larq Compute Engine.
 * @throws EnviseException the bundle has no such student, its file has changed, or the interpreter refuses it.
 */
public class Cascade @JvmOverloads constructor(
    public val bundle: Bundle,
    private val loader: NetworkLoader,
    builtin: Boolean = false,
) : AutoCloseable {
    private val manifest = bundle.manifest
    private val entry = bundle.student(builtin)
    private val square = CentralSquare(manifest.imageSize)
    private val input = ByteBuffer.allocateDirect(square.bytes).order(ByteOrder.nativeOrder())
    private val student = load(bundle.network(entry))
    private var teacher: Network? = null
    private var budget: DeferralBudget? = null
    private var isClosed = false

    internal val isBuiltin: Boolean = builtin

    /** Of the stream's prior; null unless [observe] was called. */
    @Volatile
    public var observation: Observation? = null
        private set

    /** Since the cascade was made; to be read at any time, also while an image is being answered. */
    @Volatile
    public var statistics: Statistics = Statistics()
        private set

    /** Returns the answer for a photograph or camera frame, of which the upright central square is looked at. */
    public fun classify(picture: Picture): Answer = classify(square.of(picture))

    /**
     * Returns the answer for an image of the networks' own size.
     *
     * @param image size * size * 3 bytes, RGB, 0..255, row by row.
     * @throws EnviseException the image has another size, a network gives something else than the manifest says, or the
     *     teacher's logits are no numbers.
     */
    public fun classify(image: ByteArray): Answer = verdict(image).answer

    /**
     * Estimates the stream's prior from now on, and adapts the teacher to it once the window is full.
     *
     * @throws EnviseException the bundle's teacher is not adapted, or the state is damaged or another teacher's.
     */
    @Synchronized
    @JvmOverloads
    public fun observe(options: ObservationOptions = ObservationOptions()) {
        observation = Observation(bundle, options)
    }

    /**
     * Bounds the teacher's work from now on, whatever images come.
     *
     * While the budget is spent the student answers what it would have deferred, and such an answer is not
     * [Answer.promised]. Audits are made only while it is open, so the estimated prior stays a fair one.
     */
    @Synchronized
    public fun limit(limit: DeferralLimit) {
        budget = DeferralBudget(limit)
    }

    /** As [classify], with all that the network said which answered. */
    @Synchronized
    internal fun verdict(image: ByteArray): Verdict = verdict(image, observation, budget)

    /**
     * As [classify], but of an image that is none of the stream: under the bundle's own prior, never audited, and at no
     * budget's cost.
     */
    @Synchronized
    internal fun unobserved(image: ByteArray): Answer = verdict(image, null, null).answer

    private fun verdict(image: ByteArray, observation: Observation?, budget: DeferralBudget?): Verdict {
        check(!isClosed) { "the cascade is closed" }
        if (image.size != square.bytes) {
            throw WrongImage("${image.size} bytes", "${square.bytes}: RGB of ${manifest.imageSize} x ${manifest.imageSize} pixels")
        }
        (input.clear() as ByteBuffer).put(image)
        val (logits, score) = askStudent()
        val isUnsure = isDeferred(logits, score, entry.thresholds)
        val isOpen = budget == null || budget.isOpenFor(isUnsure)
        val isAudited = !isUnsure && isOpen && observation != null && observation.audits()
        if (!isAudited && !(isUnsure && isOpen)) {
            statistics = statistics.run { if (isUnsure) copy(unpromised = unpromised + 1) else copy(answered = answered + 1) }
            return verdict(logits, manifest.teacherClasses, true, score, isPromised = !isUnsure)
        }
        val raw = askTeacher()
        val adapted = manifest.adaptation?.run { adapted(raw, observation?.prior ?: prior) } ?: raw
        observation?.see(raw, isAudited)
        statistics = statistics.run { if (isAudited) copy(audited = audited + 1) else copy(deferred = deferred + 1) }
        return verdict(adapted, manifest.classNames.indices.toList(), false, score)
    }

    /** Gives both interpreters' memory back; waits for an image that is being answered. */
    @Synchronized
    override fun close() {
        if (isClosed) return
        isClosed = true
        student.close()
        teacher?.close()
    }

    private fun verdict(
        logits: FloatArray,
        classes: List<Int>,
        byStudent: Boolean,
        score: Float,
        isPromised: Boolean = true,
    ): Verdict {
        val label = classes[logits.indexOfLargest()]
        return Verdict(Answer(label, manifest.classNames[label], byStudent, score, isPromised), logits, classes)
    }

    /** Returns the student's logits and score. */
    private fun askStudent(): Pair<FloatArray, Float> {
        val (outputs, milliseconds) = timed { run(student) }
        statistics = statistics.run { copy(studentMilliseconds = studentMilliseconds + milliseconds) }
        val logits = outputs.output(entry.logitsOutput, manifest.teacherClasses.size, entry.file)
        val score = outputs.output(entry.scoreOutput, 1, entry.file).single()
        return Pair(logits, if (logits.any { it.isNaN() }) Float.NaN else score)
    }

    /** Returns the teacher's logits as they are. */
    private fun askTeacher(): FloatArray {
        val entry = manifest.teacher
        val network = teacher ?: load(bundle.network(entry)).also { teacher = it }
        val (outputs, milliseconds) = timed { run(network) }
        statistics = statistics.run { copy(teacherMilliseconds = teacherMilliseconds + milliseconds) }
        val logits = outputs.output(entry.logitsOutput, manifest.classNames.size, entry.file)
        if (logits.any { it.isNaN() }) throw NotNumbers(entry.file.name)
        return logits
    }

    private fun load(file: NetworkFile): Network =
        try {
            loader.load(file)
        } catch (failure: EnviseException) {
            throw failure
        } catch (failure: RuntimeException) {
            throw RefusedNetwork(file.name, failure)
        }

    private fun run(network: Network): List<FloatArray> {
        input.rewind()
        return network.run(input)
    }
}

private fun List<FloatArray>.output(index: Int, numbers: Int, file: FileEntry): FloatArray =
    getOrNull(index)?.takeIf { it.size == numbers }
        ?: throw WrongNetwork(file.name, "outputs of ${map { it.size }} numbers", "$numbers at index $index")

internal inline fun <T> timed(work: () -> T): Pair<T, Double> {
    val begun = System.nanoTime()
    val done = work()
    return Pair(done, (System.nanoTime() - begun) / 1e6)
}
