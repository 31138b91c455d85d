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
    /** Returns the adapted logits of the teacher's raw ones, under the manifest's prior. */
    public fun adapted(logits: FloatArray): FloatArray = adapted(logits, prior)

    /** Returns the adapted logits under another [prior], shares that sum to 1; those below 1e-6 count as 1e-6. */
    public fun adapted(logits: FloatArray, prior: List<Double>): FloatArray {
        require(prior.size == sourcePrior.size) { "a prior of ${prior.size} shares: expected ${sourcePrior.size}" }
        val calibrated = calibrated(logits)
        return FloatArray(logits.size) {
            (calibrated[it] + (ln(maxOf(prior[it], SHARE_FLOOR)) - ln(sourcePrior[it]))).toFloat()
        }
    }

    /** Returns z / T + b of raw logits z. */
    internal fun calibrated(logits: FloatArray): DoubleArray =
        DoubleArray(logits.size) { logits[it] / temperature + bias[it] }
}

/** Smallest share that a class is taken to have: no logit becomes infinite, no class impossible. */
internal const val SHARE_FLOOR = 1e-6

/** How far the sum of shares may be from 1. */
internal const val PRIOR_TOLERANCE = 1e-6
