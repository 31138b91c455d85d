package envise.android

import envise.Bundle
import envise.Cascade
import envise.DamagedFile
import envise.NetworkFile
import envise.NetworkLoader
import envise.UnreadableFile
import org.junit.runner.RunWith
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import java.nio.ByteBuffer
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertNull
import kotlin.test.assertTrue

@RunWith(RunnerWithNatives::class)
@Config(sdk = [21, 34], manifest = Config.NONE)
class AssetFilesTest : RealInference() {
    private val assets = RuntimeEnvironment.getApplication().assets

    @Test
    fun `what is not compressed is mapped, and its networks answer as they should`() {
        assets.install("stored", digits(), isCompressed = false)
        val files = AssetFiles(assets, "stored")
        for ((name, content) in digits()) assertContentEquals(content, files.map(name)!!.bytes(), name)
        val loaded = answeringGolden(Bundle.load(files))
        assertEquals(listOf("student_builtin.tflite", "teacher.tflite"), loaded.map { it.name })
        assertTrue(loaded.all { it.content.isReadOnly })
    }

    @Test
    fun `what is compressed is copied, and its networks answer as they should`() {
        assets.install("deflated", digits(), isCompressed = true)
        val files = AssetFiles(assets, "deflated")
        assertNull(files.map("teacher.tflite"))
        val loaded = answeringGolden(Bundle.load(files))
        assertTrue(loaded.none { it.content.isReadOnly })
    }

    @Test
    fun `a missing folder and a damaged file are told`() {
        assertFailsWith<UnreadableFile> { Bundle.load(AssetFiles(assets, "nowhere")) }
        val teacher = digits().getValue("teacher.tflite")
        for ((folder, damaged) in mapOf("short" to teacher.copyOf(teacher.size - 1), "zero" to ByteArray(teacher.size))) {
            assets.install(folder, digits() + ("teacher.tflite" to damaged), isCompressed = false)
            assertFailsWith<DamagedFile> { Bundle.load(AssetFiles(assets, folder)) }
        }
    }

    /** Answers the golden images, and returns the files that were loaded. */
    private fun answeringGolden(bundle: Bundle): List<NetworkFile> {
        val loaded = mutableListOf<NetworkFile>()
        val loader = NetworkLoader { file -> InterpreterLoader.stock().load(file.also { loaded += it }) }
        Cascade(bundle, loader, builtin = true).use { bundle.golden().check(it) }
        return loaded
    }

    private fun ByteBuffer.bytes() = ByteArray(remaining()).also { get(it) }
}
