package envise

import com.google.gson.GsonBuilder
import com.google.gson.JsonArray
import com.google.gson.JsonObject
import java.nio.ByteBuffer
import java.nio.ByteOrder

/**
 * How long the networks and cascades of a bundle take on this device.
 *
 * They take turns, round by round, on the same number of golden images, one at a time, as in `envise_tf.export.benchmark`,
 * which also makes the ratios of the times: `python -m envise_tf.export.benchmark BUNDLE --merge FILE`. A cascade's images
 * are a mix of those that it answers and those that it defers; where the golden images lack one kind, mixes that need it
 * are left out.
 *
 * @param bundle with golden images.
 * @param loaderOf makes the loader of interpreters with so many threads.
 * @param hasBinary whether the binary student is measured beside the built-in one; only Larq Compute Engine runs it.
 * @param rounds turns that networks and cascades take; cut to as few as three where they take longer than 15 s.
 */
public class Benchmark @JvmOverloads constructor(
    private val bundle: Bundle,
    private val hasBinary: Boolean,
    private val rounds: Int = 15,
    private val loaderOf: (threads: Int) -> NetworkLoader,
) {
    /** Something that answers images: [what] as the manifest calls it, alone, or its cascade at an outlier rate. */
    private class Contender(val what: String, val outlierRate: Double?, val images: List<ByteArray>, val ask: (ByteArray) -> Unit)

    private val golden = bundle.golden().images
    private val students = if (hasBinary) listOf(BINARY, BUILTIN) else listOf(BUILTIN)

    /**
     * Measures, for a minute or so, and returns the times as JSON; `schema/phone.schema.json` of the Python package
     * describes it.
     *
     * @param threads of the interpreters; all is measured for each number.
     * @param device what the times belong to, such as the phone's model, by name.
     * @throws EnviseException a network fails.
     */
    public fun measured(threads: List<Int>, device: Map<String, String>): String {
        val report = JsonObject()
        report.addProperty("bundle", bundle.manifest.name)
        report.addProperty("manifest_sha256", bundle.checksum)
        report.add("device", JsonObject().apply { device.forEach { (name, value) -> addProperty(name, value) } })
        val loads = JsonObject()
        report.add("load_ms", loads)
        report.add("times", JsonArray().apply { threads.forEach { count -> times(count, loads).forEach(::add) } })
        return GsonBuilder().serializeNulls().create().toJson(report)
    }

    private fun times(threads: Int, loads: JsonObject): List<JsonObject> {
        val opened = mutableListOf<AutoCloseable>()
        try {
            val contenders = contenders(loaderOf(threads), loads, opened)
            val times = contenders.zip(milliseconds(contenders))
            return times.map { (contender, milliseconds) -> row(contender, threads, milliseconds) }
        } finally {
            opened.forEach { it.close() }
        }
    }

    private fun contenders(loader: NetworkLoader, loads: JsonObject, opened: MutableList<AutoCloseable>): List<Contender> {
        val mix = List(MIX) { golden[it % golden.size] }
        val input = ByteBuffer.allocateDirect(golden.first().size).order(ByteOrder.nativeOrder())
        val files = listOf(TEACHER to bundle.network(bundle.manifest.teacher)) +
            students.map { it to bundle.network(bundle.student(builtin = it == BUILTIN)) }
        val networks = files.map { (what, file) ->
            val (network, milliseconds) = timed { loader.load(file) }
            opened += network
            if (!loads.has(what)) loads.addProperty(what, milliseconds.rounded()) // the first time, not with the files at hand
            Contender(what, null, mix) { image ->
                (input.clear() as ByteBuffer).put(image).rewind()
                network.run(input)
            }
        }
        val cascades = students.flatMap { what ->
            val cascade = Cascade(bundle, loader, builtin = what == BUILTIN).also { opened += it }
            val (answered, deferred) = golden.partition { cascade.classify(it).byStudent }
            OUTLIER_RATES.mapNotNull { rate ->
                mixed(answered, deferred, rate)?.let { Contender(what, rate, it) { image -> cascade.classify(image) } }
            }
        }
        return networks + cascades
    }

    /** Returns the milliseconds of each contender, by round and image. */
    private fun milliseconds(contenders: List<Contender>): List<List<DoubleArray>> {
        for (contender in contenders) contender.passed(MIX / 4) // warms it up
        val times = contenders.map { mutableListOf<DoubleArray>() }
        val begun = System.nanoTime()
        for (round in 0 until rounds) {
            if (round >= FEWEST_ROUNDS && System.nanoTime() - begun > MOST_NANOSECONDS) break
            contenders.forEachIndexed { index, contender -> times[index] += contender.passed(MIX) }
        }
        return times
    }

    private fun Contender.passed(images: Int) = DoubleArray(images) { index -> timed { ask(this.images[index]) }.second }

    private fun row(contender: Contender, threads: Int, milliseconds: List<DoubleArray>) = JsonObject().apply {
        addProperty("what", contender.what)
        addProperty("outlier_rate", contender.outlierRate)
        addProperty("threads", threads)
        val rounds = JsonArray()
        for (round in milliseconds) rounds.add(JsonArray().apply { round.forEach { add(it.rounded()) } })
        add("milliseconds", rounds)
    }

    private companion object {
        const val TEACHER = "teacher"
        const val BINARY = "student"
        const val BUILTIN = "student_builtin"

        /** Images a round: the smallest number that every outlier rate divides. */
        const val MIX = 20
        val OUTLIER_RATES = listOf(0.0, 0.05, 0.1, 0.2)
        const val FEWEST_ROUNDS = 3
        const val MOST_NANOSECONDS = 15_000_000_000L

        /** Returns MIX images of which a share is deferred, evenly spread; null where no image is there to make it. */
        fun mixed(answered: List<ByteArray>, deferred: List<ByteArray>, rate: Double): List<ByteArray>? {
            val count = Math.round(rate * MIX).toInt()
            if (answered.isEmpty() || count > 0 && deferred.isEmpty()) return null
            val places = List(count) { it * MIX / count }
            var next = 0
            return List(MIX) { place ->
                if (place in places) deferred[places.indexOf(place) % deferred.size] else answered[next++ % answered.size]
            }
        }

        /** To a tenth of a microsecond, which is as much as a clock can tell. */
        fun Double.rounded() = Math.round(this * 10_000) / 10_000.0
    }
}
