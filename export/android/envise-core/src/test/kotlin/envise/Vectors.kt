package envise

import com.google.gson.GsonBuilder
import com.google.gson.JsonArray
import com.google.gson.JsonElement
import com.google.gson.JsonObject
import com.google.gson.JsonParser
import org.junit.jupiter.api.DynamicTest
import java.io.FileNotFoundException
import java.nio.ByteBuffer
import java.util.Base64

/** The cases of which Python has stored its answers; tests/export/android_vectors makes them. */
object Vectors {
    fun of(name: String): JsonElement = JsonParser.parseString(Vectors::class.java.getResource("/vectors/$name")!!.readText())

    /** Returns a test for each case of a list. */
    fun tests(cases: JsonElement, check: (JsonObject) -> Unit): List<DynamicTest> =
        cases.asJsonArray.mapIndexed { index, element ->
            val case = element.asJsonObject
            DynamicTest.dynamicTest(case.get("name")?.asString ?: "case $index") { check(case) }
        }
}

/** The files of a small bundle that is whole. */
val INTACT: Map<String, ByteArray> by lazy {
    Vectors.of("bundles.json").asJsonObject.getAsJsonObject("files").entrySet().associate { (name, content) -> name to bytes(content) }
}

fun intactManifest(): JsonObject = JsonParser.parseString(INTACT.getValue("manifest.json").toString(Charsets.UTF_8)).asJsonObject

/** The intact bundle's files with another manifest, and a checksum that fits it. */
fun changed(manifest: JsonObject): Map<String, ByteArray> {
    val content = GsonBuilder().serializeNulls().create().toJson(manifest).toByteArray()
    val checksum = "${sha256(content)}  manifest.json\n".toByteArray()
    return INTACT + mapOf("manifest.json" to content, "manifest.sha256" to checksum)
}

/** The intact bundle with the binary student's thresholds and the adaptation of a case, which may be null. */
fun bundleOf(thresholds: JsonArray, adaptation: JsonElement): Bundle {
    val manifest = intactManifest()
    manifest.getAsJsonObject("student").getAsJsonObject("threshold").add("values", thresholds)
    manifest.remove("adaptation")
    if (adaptation.isJsonObject) manifest.add("adaptation", adaptation)
    return Bundle.load(inMemory(changed(manifest)))
}

fun inMemory(files: Map<String, ByteArray>) = BundleFiles { files[it]?.inputStream() ?: throw FileNotFoundException("it is missing") }

/** A network that says the same of every image until it is told something else. */
class Saying(var outputs: List<FloatArray>) : Network {
    var isClosed = false

    override fun run(image: ByteBuffer) = outputs

    override fun close() {
        isClosed = true
    }

    companion object {
        /** What the intact bundle's student says, in the order of its outputs. */
        fun student(logits: FloatArray, score: Float) = listOf(FloatArray(3), floatArrayOf(score), logits)
    }
}

fun bytes(base64: JsonElement): ByteArray = Base64.getDecoder().decode(base64.asString)

fun number(value: JsonElement) = value.asString.toDouble().toFloat()

fun numbers(values: JsonElement) = values.asJsonArray.map { number(it) }.toFloatArray()

fun JsonObject.text(key: String): String = get(key).asString

/** What a case holds under a key; null where there is nothing. */
fun JsonObject.orNull(key: String): JsonElement? = get(key)?.takeIf { !it.isJsonNull }
