package envise

import com.google.gson.JsonArray
import com.google.gson.JsonElement
import com.google.gson.JsonObject
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.io.encoding.Base64
import kotlin.math.abs
import kotlin.math.exp
import kotlin.math.ln

/**
 * What a device has seen of its stream, and the prior that it estimates from it.
 *
 * Deferred images are no fair sample of the stream, so chance shows some of the others to the teacher too: the audits.
 * Each image counts by the reciprocal of its chance to come before the teacher. The teacher's answers follow the
 * estimate once the window is full; the student's thresholds, and the promise made for them, stay the bundle's.
 *
 * All as in `envise_tf.export.observation`, whose states this class reads and writes too. Any thread may call it.
 */
public class Observation internal constructor(bundle: Bundle, options: ObservationOptions) {
    private val adaptation = bundle.manifest.adaptation ?: throw RawTeacher(bundle.manifest.name)
    private val teacher = checkNotNull(bundle.manifest.teacherFingerprint) { "an adapted teacher has one" }
    private val teacherFile = bundle.manifest.teacher.file.name
    private val window = WindowPrior(options.window, adaptation.sourcePrior)
    private val size = options.window
    private val auditShare = options.auditShare
    private val random = options.random

    init {
        options.state?.let { restore(it) }
    }

    /** Number of images in the window. */
    @get:Synchronized
    public val images: Int
        get() = window.images

    /** The stream's prior, shares of the teacher's classes: the bundle's until the window is full, then the window's. */
    @get:Synchronized
    public val prior: List<Double>
        get() = if (window.images == size) window.prior else adaptation.prior

    /** Returns all that is needed to go on after a restart: a JSON text of some 5 bytes per image and class. */
    @Synchronized
    public fun state(): String {
        val (ratios, weights) = window.content()
        val state = JsonObject()
        state.addProperty("teacher", teacher)
        state.add("prior", JsonArray().apply { window.prior.forEach(::add) })
        state.addProperty("ratios", Base64.encode(bytes(ratios)))
        state.addProperty("weights", Base64.encode(bytes(weights)))
        return state.toString()
    }

    /** Returns whether chance wants an image that the student would answer to be audited. */
    internal fun audits(): Boolean = random.nextDouble() < auditShare

    /**
     * Takes in the teacher's raw logits of an image.
     *
     * @throws NotNumbers the largest of them is infinite.
     */
    @Synchronized
    internal fun see(logits: FloatArray, isAudited: Boolean) {
        val calibrated = adaptation.calibrated(logits)
        // float32 from here on, as in Python.
        val scaled = FloatArray(logits.size) { calibrated[it].toFloat() - ln(adaptation.sourcePrior[it]).toFloat() }
        val largest = scaled.max()
        if (largest.isInfinite()) throw NotNumbers(teacherFile)
        val ratios = FloatArray(scaled.size) { exp(scaled[it] - largest).takeIf { ratio -> ratio >= NEGLIGIBLE } ?: 0f }
        window.update(ratios, if (isAudited) (1 / auditShare).toFloat() else 1f)
    }

    private fun restore(text: String) {
        val state = try {
            json(text.toByteArray()) as? JsonObject
        } catch (_: NotJson) {
            null
        }
        val prior = state?.get("prior").numbers()
        val weights = state?.get("weights").floats()
        val ratios = state?.get("ratios").floats()
        val isWhole = state?.get("teacher").textOrNull() == teacher && prior != null && weights != null && ratios != null &&
            isPrior(prior) && areAnswers(ratios, weights)
        if (!isWhole) throw WrongState()
        window.restore(ratios, weights, prior)
    }

    private fun areAnswers(ratios: FloatArray, weights: FloatArray): Boolean {
        val classes = adaptation.bias.size
        return ratios.size == weights.size * classes &&
            weights.all { it >= 1 && it < Float.POSITIVE_INFINITY } &&
            ratios.all { it in 0f..1f } &&
            ratios.asList().chunked(classes).all { it.max() == 1f }
    }

    private fun isPrior(prior: List<Double>) =
        prior.size == adaptation.prior.size && prior.all { it >= 0 } && abs(prior.sum() - 1) <= PRIOR_TOLERANCE

    private companion object {
        /** A ratio that is smaller counts as 0, as in Python. */
        const val NEGLIGIBLE = 1e-15f
    }
}

private fun bytes(values: FloatArray): ByteArray =
    ByteBuffer.allocate(4 * values.size).order(ByteOrder.LITTLE_ENDIAN).apply { values.forEach { putFloat(it) } }.array()

private fun JsonElement?.floats(): FloatArray? {
    val content = textOrNull()?.let { decodedOrNull(it) }?.takeIf { it.size % 4 == 0 } ?: return null
    val buffer = ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN)
    return FloatArray(content.size / 4) { buffer.getFloat() }
}

private fun JsonElement?.numbers(): List<Double>? =
    (this as? JsonArray)?.map { it.numberOrNull() ?: return null }

private fun decodedOrNull(text: String) =
    try {
        Base64.decode(text)
    } catch (_: IllegalArgumentException) {
        null
    }
