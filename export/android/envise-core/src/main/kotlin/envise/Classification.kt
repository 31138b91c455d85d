package envise

import kotlin.math.exp

/**
 * A class that a picture may be of.
 *
 * @property index in the teacher's classes, from 0.
 * @property name of that class in the bundle, which is also the name to show.
 * @property score its probability by the network that answered, 0..1.
 */
public data class Category(val index: Int, val name: String, val score: Float)

/**
 * What an [ImageClassifier] says of one picture.
 *
 * @property answer the cascade's, whatever the options leave out of the categories.
 * @property categories the most probable first, of equals the first in the network's order. Of an answer by the student
 *     they are of the student's classes alone, and their probabilities those of the student; of one by the teacher all
 *     classes, adapted to the stream's prior where the bundle says how. What the options leave out is missing, and the
 *     probabilities of the others stay as they are.
 * @property timestampMilliseconds that the frame was given; null of a photograph.
 */
public data class Classification(
    val answer: Answer,
    val categories: List<Category>,
    val timestampMilliseconds: Long? = null,
)

/** An answer and the logits of the network that gave it; [classes] has the teacher's class of each. */
internal class Verdict(val answer: Answer, private val logits: FloatArray, private val classes: List<Int>) {
    /** Returns the classes by falling probability, without those that the options leave out. */
    fun categories(names: List<String>, options: ClassifierOptions): List<Category> {
        val probabilities = softmax(logits)
        return logits.indices
            .sortedByDescending { logits[it] + 0f } // -0 becomes 0, or they would not be equals
            .map { Category(classes[it], names[classes[it]], probabilities[it]) }
            .filter { it.score >= options.scoreThreshold && options.allows(it.name) }
            .take(options.maxResults)
    }
}

private fun ClassifierOptions.allows(name: String) =
    (categoryAllowlist.isEmpty() || name in categoryAllowlist) && name !in categoryDenylist

/** Infinite logits share what there is: the limit of large ones that are equal. */
private fun softmax(logits: FloatArray): FloatArray {
    val largest = logits.max()
    val shares = DoubleArray(logits.size) { if (logits[it] == largest) 1.0 else exp(logits[it].toDouble() - largest) }
    val sum = shares.sum()
    return FloatArray(logits.size) { (shares[it] / sum).toFloat() }
}
