package envise

import kotlin.math.ln

/**
 * How the teacher is adapted to the stream's prior: z / T + b + log(pi / pi0), as in docs/export.md.
 *
 * @property temperature T > 0.
 * @property bias b, one per teacher's class, in nats.
 * @property prior pi, share of each class in the stream; they sum to 1.
 * @property sourcePrior pi0, shares above 0 under which the teacher is calibrated; they sum to 1.
 */
public data class Adaptation(
    val temperature: Double,
    val bias: List<Double>,
    val prior: List<Double>,
    val sourcePrior: List<Double>,
) {
    private val logRatios: DoubleArray by lazy { logRatios(prior) }

    /** Returns the adapted logits of the teacher's raw ones, under the manifest's prior. */
    public fun adapted(logits: FloatArray): FloatArray = shifted(logits, logRatios)

    /** Returns the adapted logits under another [prior], shares that sum to 1; those below 1e-6 count as 1e-6. */
    public fun adapted(logits: FloatArray, prior: List<Double>): FloatArray = shifted(logits, logRatios(prior))

    /** Returns z / T + b of raw logits z. */
    private fun calibrated(logits: FloatArray) = DoubleArray(logits.size) { logits[it] / temperature + bias[it] }

    private fun shifted(logits: FloatArray, shift: DoubleArray): FloatArray {
        val calibrated = calibrated(logits)
        return FloatArray(logits.size) { (calibrated[it] + shift[it]).toFloat() }
    }

    private fun logRatios(prior: List<Double>): DoubleArray {
        require(prior.size == sourcePrior.size) { "a prior of ${prior.size} shares: expected ${sourcePrior.size}" }
        return DoubleArray(prior.size) { ln(maxOf(prior[it], SHARE_FLOOR)) - ln(sourcePrior[it]) }
    }
}

/** Smallest share that a class is taken to have: no logit becomes infinite, no class impossible. */
internal const val SHARE_FLOOR = 1e-6
