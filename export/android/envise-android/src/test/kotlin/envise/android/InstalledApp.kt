package envise.android

import android.content.res.AssetManager
import org.robolectric.util.ReflectionHelpers
import org.robolectric.util.ReflectionHelpers.ClassParameter
import java.io.File
import java.util.zip.CRC32
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream

/** Opens an app's package that holds files in a folder of its assets, as Android does before an app starts. */
fun AssetManager.install(folder: String, files: Map<String, ByteArray>, isCompressed: Boolean) {
    val app = File.createTempFile("app", ".apk").apply { deleteOnExit() }
    ZipOutputStream(app.outputStream()).use { zip ->
        for ((name, content) in files) {
            zip.putNextEntry(if (isCompressed) ZipEntry("assets/$folder/$name") else stored("assets/$folder/$name", content))
            zip.write(content)
        }
    }
    val path = ClassParameter.from(String::class.java, app.path)
    check(ReflectionHelpers.callInstanceMethod<Int>(this, "addAssetPath", path) != 0) { "Robolectric does not open $app" }
}

private fun stored(name: String, content: ByteArray) = ZipEntry(name).apply {
    method = ZipEntry.STORED
    size = content.size.toLong()
    crc = CRC32().apply { update(content) }.value
}

/** The files of the bundle that the tests share. */
fun digits(): Map<String, ByteArray> = File("src/test/assets/digits").listFiles()!!.associate { it.name to it.readBytes() }
