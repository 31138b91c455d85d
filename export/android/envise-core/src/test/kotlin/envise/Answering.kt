package envise

import java.io.File
import kotlin.random.Random

/**
 * BUNDLE ANSWERS STEP: answers of a bundle, one after the other, for benchmarks/soak.py, which watches.
 *
 * The images are the bundle's own and as many of noise, in turns. After each STEP answers it says how many and waits for
 * a line, as benchmarks/trust/answering.py does.
 */
fun main(words: Array<String>) {
    val bundle = Bundle.load(File(words[0]))
    val (answers, step) = words.drop(1).map { it.toInt() }
    val random = Random(0)
    val images = bundle.golden().images.let { own -> own + own.map { random.nextBytes(it.size) } }
    Cascade(bundle, ::TfliteNetwork, builtin = true).use { cascade ->
        for (given in 1..answers) {
            cascade.classify(images[given % images.size])
            if (given % step == 0 || given == answers) {
                println(given)
                readln()
            }
        }
    }
}
