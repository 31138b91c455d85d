package envise

import com.google.gson.JsonArray
import com.google.gson.JsonElement
import com.google.gson.JsonObject
import org.junit.jupiter.api.TestFactory
import java.io.File
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream
import kotlin.test.assertEquals
import kotlin.test.assertTrue

class BundlesTest {
    @TestFactory
    fun bundles() = Vectors.tests(Vectors.of("bundles.json").asJsonObject.get("cases")) { case ->
        val files = files(case)
        check(case, inMemory(files), "in memory")
        val folder = kotlin.io.path.createTempDirectory().toFile()
        try {
            for ((name, content) in files) File(folder, name).writeBytes(content)
            check(case, BundleFiles.folder(folder), "in a folder")
            check(case, BundleFiles.zip(File(folder, "bundle.zip").also { zip(files, it) }), "in an archive")
        } finally {
            folder.deleteRecursively()
        }
    }

    private fun check(case: JsonObject, files: BundleFiles, place: String) {
        val found = runCatching { Bundle.load(files).also { it.golden() } }
        val failure = found.exceptionOrNull()
        if (failure !is EnviseException?) throw failure!!
        assertEquals(case.orNull("error")?.asString, failure?.javaClass?.simpleName, place)
        failure?.let { assertEquals(1, it.message!!.lines().size, it.message) } ?: checkRead(case, found.getOrThrow().manifest)
    }

    private fun checkRead(case: JsonObject, manifest: Manifest) {
        val read = case.getAsJsonObject("read")
        assertEquals(read.get("size").asInt, manifest.imageSize)
        assertEquals(read.getAsJsonArray("class_names").map { it.asString }, manifest.classNames)
        assertEquals(read.getAsJsonArray("teacher_classes").map { it.asDouble.toInt() }, manifest.teacherClasses)
        assertEquals(read.get("adapted").asBoolean, manifest.adaptation != null)
        val students = mapOf("student" to manifest.student, "student_builtin" to manifest.builtinStudent).filterValues { it != null }
        assertEquals(read.getAsJsonObject("thresholds").keySet(), students.keys)
        for ((name, student) in students) {
            assertEquals(numbers(read.getAsJsonObject("thresholds").get(name)).toList(), student!!.thresholds)
            val outputs = read.getAsJsonObject("outputs").getAsJsonObject(name)
            assertEquals(
                outputs.get("logits").asInt to outputs.get("score").asInt,
                student.logitsOutput to student.scoreOutput,
            )
        }
    }

    private fun files(case: JsonObject): Map<String, ByteArray> {
        val change = case.orNull("change")?.asJsonObject
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

    private fun zip(files: Map<String, ByteArray>, archive: File) = ZipOutputStream(archive.outputStream()).use { zip ->
        for ((name, content) in files) {
            zip.putNextEntry(ZipEntry("small/$name"))
            zip.write(content)
        }
    }
}
