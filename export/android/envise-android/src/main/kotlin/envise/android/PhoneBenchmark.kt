@file:JvmName("PhoneBenchmark")

package envise.android

import android.os.Build
import envise.Benchmark
import envise.Bundle
import org.tensorflow.lite.TensorFlowLite
import java.text.SimpleDateFormat
import java.util.Date
import java.util.Locale

/**
 * Measures a bundle on this phone, for a minute or so, and returns what `python -m envise_tf.export.benchmark BUNDLE --merge
 * FILE` reads, see [Benchmark]. Call it on a thread of its own, on a phone that has nothing else to do and is not hot.
 *
 * @param isLce whether the app has Larq Compute Engine's library; the binary student is measured too then.
 * @param threads of the interpreters; all is measured for each number.
 * @param rounds turns that networks and cascades take.
 * @throws envise.EnviseException a network fails.
 */
@JvmOverloads
public fun phoneBenchmark(bundle: Bundle, isLce: Boolean, threads: List<Int> = listOf(1, 2), rounds: Int = 15): String {
    val hasBinary = isLce && bundle.manifest.student != null
    val benchmark = Benchmark(bundle, hasBinary, rounds) { if (isLce) InterpreterLoader.lce(it) else InterpreterLoader.stock(it) }
    return benchmark.measured(
        threads,
        mapOf(
            "model" to "${Build.MANUFACTURER} ${Build.MODEL}",
            "android" to "${Build.VERSION.RELEASE} (API ${Build.VERSION.SDK_INT})",
            "abi" to Build.SUPPORTED_ABIS.first(),
            "cores" to Runtime.getRuntime().availableProcessors().toString(),
            "library" to if (isLce) "Larq Compute Engine" else "TensorFlow Lite",
            "runtime" to TensorFlowLite.runtimeVersion(),
            "date" to SimpleDateFormat("yyyy-MM-dd", Locale.ROOT).format(Date()),
        ),
    )
}
