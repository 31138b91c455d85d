package envise.android

import com.google.gson.GsonBuilder
import com.google.gson.JsonParser
import envise.Bundle
import envise.BundleFiles
import envise.Cascade
import envise.NetworkFile
import envise.NetworkLoader
import envise.RefusedNetwork
import envise.WrongLibrary
import envise.WrongNetwork
import java.security.MessageDigest
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertIs

class InterpreterLoaderTest : RealInference() {
    @Test
    fun `the golden images have the answers that Python had`() {
        for (loader in listOf(InterpreterLoader.stock(), InterpreterLoader.stock(threads = 2), InterpreterLoader.lce())) {
            Cascade(bundle, loader, builtin = true).use { cascade ->
                bundle.golden().check(cascade)
                assertEquals(Pair(16, 16), cascade.statistics.run { Pair(answered, deferred) })
            }
        }
    }

    @Test
    fun `a network with other outputs than the manifest's is refused`() {
        val loaded = mutableListOf<NetworkFile>()
        Cascade(bundle, { file -> InterpreterLoader.stock().load(file.also { loaded += it }) }, builtin = true).use {
            bundle.golden().check(it)
        }
        val teacher = NetworkLoader { InterpreterLoader.stock().load(loaded[1]) }
        Cascade(bundle, teacher, builtin = true).use { cascade ->
            assertFailsWith<WrongNetwork> { cascade.classify(bundle.golden().images[0]) }
        }
    }

    @Test
    fun `a binary student takes the library that has its operators`() {
        val bundle = Bundle.load(withBinaryStudent())
        assertFailsWith<WrongLibrary> { Cascade(bundle, InterpreterLoader.stock()) }
        Cascade(bundle, InterpreterLoader.lce()).use { assertEquals("three", it.classify(bundle.golden().images[2]).name) }
    }

    @Test
    fun `a file that is no network is refused`() {
        val failure = assertFailsWith<RefusedNetwork> { Cascade(Bundle.load(withBinaryStudent(ByteArray(100))), InterpreterLoader.lce()) }
        assertIs<IllegalArgumentException>(failure.cause)
    }

    /** The bundle's files with another student, by default the built-in one, that says to be for Larq Compute Engine. */
    private fun withBinaryStudent(content: ByteArray = digits().getValue("student_builtin.tflite")): BundleFiles {
        val manifest = JsonParser.parseString(digits().getValue("manifest.json").decodeToString()).asJsonObject
        val student = manifest.getAsJsonObject("student_builtin").deepCopy().apply {
            addProperty("file", "student.tflite")
            addProperty("bytes", content.size)
            addProperty("sha256", sha256(content))
            addProperty("runtime", "lce")
            addProperty("network", "binary")
        }
        manifest.add("student", student)
        val written = GsonBuilder().serializeNulls().create().toJson(manifest).toByteArray()
        val files = digits() + mapOf(
            "student.tflite" to content,
            "manifest.json" to written,
            "manifest.sha256" to "${sha256(written)}  manifest.json\n".toByteArray(),
        )
        return BundleFiles { files.getValue(it).inputStream() }
    }

    private fun sha256(content: ByteArray) =
        MessageDigest.getInstance("SHA-256").digest(content).joinToString("") { "%02x".format(it) }

    @Test
    fun `no threads are refused`() {
        val failure = assertFailsWith<IllegalArgumentException> { InterpreterLoader.stock(threads = 0) }
        assertEquals("0 threads: expected at least 1", failure.message)
    }
}
