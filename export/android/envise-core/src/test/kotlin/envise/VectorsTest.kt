package envise

import com.google.gson.JsonArray
import com.google.gson.JsonElement
import com.google.gson.JsonObject
import com.google.gson.JsonParser
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.TestFactory
import java.io.File
import java.io.FileNotFoundException
import java.nio.ByteBuffer
import java.security.MessageDigest
import java.util.Base64
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream
import kotlin.math.abs
import kotlin.test.assertEquals
import kotlin.test.assertTrue

/** The cases of which Python has stored its answers; tests/export/android_vectors.py makes them. */
class VectorsTest {
    @TestFactory
    fun pictures() = vectors("pictures.json").asJsonArray.map { it.asJsonObject }.map { case ->
        DynamicTest.dynamicTest(case.text("name")) {
            val stored = bytes(case.get("pixels"))
            val width = case.get("width").asInt
            val height = case.get("height").asInt
            val orientation = Orientation.entries.single { it.exif == case.get("orientation").asInt }
            val isRgba = case.text("layout") == "rgba"
            val picture = if (isRgba) RgbaPicture(stored, width, height, orientation) else Nv21Picture(stored, width, height, orientation)
            val found = CentralSquare(case.get("size").asInt).of(picture)
            val expected = bytes(case.get("square"))
            val off = found.zip(expected) { one, other -> abs((one.toInt() and 0xFF) - (other.toInt() and 0xFF)) }
            assertEquals(expected.size, found.size)
            // Pillow's own conversion from YCbCr is one in whole numbers, so a grey level apart.
            assertTrue(off.max() <= if (isRgba) 0 else 1, "off by ${off.max()} grey levels")
        }
    }

    @TestFactory
    fun decisions() = vectors("decisions.json").asJsonArray.map { it.asJsonObject }.mapIndexed { index, case ->
        DynamicTest.dynamicTest("decision $index") {
            val manifest = intactManifest()
            manifest.getAsJsonObject("student").getAsJsonObject("threshold").add("values", case.get("thresholds"))
            manifest.remove("adaptation")
            case.get("adaptation").takeIf { it.isJsonObject }?.let { manifest.add("adaptation", it) }
            val bundle = Bundle.load(inMemory(changed(manifest)))
            val said = mapOf(
                "student.tflite" to listOf(FloatArray(3), floatArrayOf(number(case.get("score"))), numbers(case.get("student_logits"))),
                "teacher.tflite" to listOf(numbers(case.get("teacher_logits"))),
            )
            val cascade = Cascade(bundle, { file -> Saying(said.getValue(file.name)) })
            val found = runCatching { cascade.classify(ByteArray(4 * 4 * 3)) }
            if (case.has("error")) {
                assertEquals(case.text("error"), found.exceptionOrNull()?.javaClass?.simpleName)
                return@dynamicTest
            }
            val answer = found.getOrThrow()
            assertEquals(case.get("label").asInt to case.get("by_student").asBoolean, answer.label to answer.byStudent)
            assertEquals(bundle.manifest.classNames[answer.label], answer.name)
            assertEquals(if (answer.byStudent) 1 to 0 else 0 to 1, cascade.statistics.run { answered to deferred })
            if (case.has("adapted")) {
                val adapted = bundle.manifest.adaptation!!.adapted(numbers(case.get("teacher_logits")))
                numbers(case.get("adapted")).zip(adapted).forEach { (expected, value) ->
                    assertTrue(expected == value || abs(expected - value) <= Math.ulp(expected), "$value, expected $expected")
                }
            }
        }
    }

    @TestFactory
    fun bundles() = vectors("bundles.json").asJsonObject.getAsJsonArray("cases").map { it.asJsonObject }.map { case ->
        DynamicTest.dynamicTest(case.text("name")) {
            val files = files(case)
            val expected = case.get("error").takeIf { !it.isJsonNull }?.asString
            assertEquals(expected, told(inMemory(files)), "in memory")
            val folder = kotlin.io.path.createTempDirectory().toFile()
            try {
                for ((name, content) in files) File(folder, name).writeBytes(content)
                assertEquals(expected, told(BundleFiles.folder(folder)), "in a folder")
                val archive = File(folder, "bundle.zip").also { zip(files, it) }
                assertEquals(expected, told(BundleFiles.zip(archive)), "in an archive")
            } finally {
                folder.deleteRecursively()
            }
        }
    }

    private fun told(files: BundleFiles): String? =
        try {
            Bundle.load(files).golden()
            null
        } catch (failure: EnviseException) {
            assertTrue(failure.message!!.lines().size == 1, failure.message)
            failure.javaClass.simpleName
        }

    private fun files(case: JsonObject): Map<String, ByteArray> {
        val change = case.get("change").takeIf { it.isJsonObject }?.asJsonObject
        val files = if (change == null) INTACT.toMutableMap() else changed(intactManifest().changed(change)).toMutableMap()
        for ((name, content) in case.getAsJsonObject("files").entrySet()) {
            if (content.isJsonNull) files.remove(name) else files[name] = bytes(content)
        }
        return files
    }

    private fun JsonObject.changed(change: JsonObject): JsonObject {
        val at = change.getAsJsonArray("at").toList()
        val inside = at.dropLast(1).fold(this as JsonElement) { value, key -> value.inside(key) }
        when {
            inside is JsonArray -> inside.set(at.last().asInt, change.get("value"))
            change.has("value") -> inside.asJsonObject.add(at.last().asString, change.get("value"))
            else -> inside.asJsonObject.remove(at.last().asString)
        }
        return this
    }

    private fun JsonElement.inside(key: JsonElement) = if (this is JsonArray) get(key.asInt) else asJsonObject.get(key.asString)
}

/** A network that says the same of every image. */
class Saying(private val outputs: List<FloatArray>) : Network {
    var isClosed = false

    override fun run(image: ByteBuffer) = outputs

    override fun close() {
        isClosed = true
    }
}

val INTACT: Map<String, ByteArray> by lazy {
    vectors("bundles.json").asJsonObject.getAsJsonObject("files").entrySet().associate { (name, content) -> name to bytes(content) }
}

fun vectors(name: String): JsonElement =
    JsonParser.parseString(VectorsTest::class.java.getResource("/vectors/$name")!!.readText())

fun intactManifest(): JsonObject = JsonParser.parseString(INTACT.getValue("manifest.json").toString(Charsets.UTF_8)).asJsonObject

/** The intact bundle's files with another manifest, and a checksum that fits it. */
fun changed(manifest: JsonObject): Map<String, ByteArray> {
    val content = com.google.gson.GsonBuilder().serializeNulls().create().toJson(manifest).toByteArray()
    val sha256 = MessageDigest.getInstance("SHA-256").digest(content).joinToString("") { "%02x".format(it) }
    return INTACT + mapOf("manifest.json" to content, "manifest.sha256" to "$sha256  manifest.json\n".toByteArray())
}

fun inMemory(files: Map<String, ByteArray>) = BundleFiles { files[it]?.inputStream() ?: throw FileNotFoundException("it is missing") }

private fun zip(files: Map<String, ByteArray>, archive: File) = ZipOutputStream(archive.outputStream()).use { zip ->
    for ((name, content) in files) {
        zip.putNextEntry(ZipEntry("small/$name"))
        zip.write(content)
    }
}

private fun bytes(base64: JsonElement): ByteArray = Base64.getDecoder().decode(base64.asString)

private fun number(value: JsonElement) = value.asString.toDouble().toFloat()

private fun numbers(values: JsonElement) = values.asJsonArray.map { number(it) }.toFloatArray()

private fun JsonObject.text(key: String) = get(key).asString
