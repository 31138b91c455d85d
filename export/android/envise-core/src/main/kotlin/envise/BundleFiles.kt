package envise

import java.io.ByteArrayOutputStream
import java.io.File
import java.io.FileNotFoundException
import java.io.FilterInputStream
import java.io.IOException
import java.io.InputStream
import java.nio.ByteBuffer
import java.util.zip.ZipFile

/** Where the files of a bundle are: a folder, a ZIP archive, or the assets of an app, `BundleFiles { assets.open("zoo/$it") }`. */
public fun interface BundleFiles {
    /**
     * Opens a file of the bundle by its name, such as `manifest.json`.
     *
     * @throws IOException there is no such file, or it cannot be read.
     */
    @Throws(IOException::class)
    public fun open(name: String): InputStream

    /**
     * Returns all of a file in memory of the system's, so that it takes none of the app's: direct, at its start. Null where
     * that cannot be done, or the file may change while it is there; it is read by [open] then.
     *
     * @throws IOException there is no such file, or it cannot be read.
     */
    public fun map(name: String): ByteBuffer? = null

    public companion object {
        /** The files of a folder. */
        @JvmStatic
        public fun folder(folder: File): BundleFiles = BundleFiles { File(folder, it).inputStream() }

        /** The files of a ZIP archive, at its top or in a folder of it. */
        @JvmStatic
        public fun zip(archive: File): BundleFiles = BundleFiles { openZipped(archive, it) }
    }
}

private fun openZipped(archive: File, name: String): InputStream {
    val zip = ZipFile(archive)
    try {
        val names = zip.entries().asSequence().map { it.name }
        val manifest = names.filter { it.substringAfterLast('/') == MANIFEST }.minByOrNull { it.length } ?: MANIFEST
        val entry = zip.getEntry(manifest.removeSuffix(MANIFEST) + name) ?: throw FileNotFoundException("it is missing")
        return object : FilterInputStream(zip.getInputStream(entry)) {
            override fun close() = zip.close()
        }
    } catch (failure: Throwable) {
        zip.close()
        throw failure
    }
}

/** Returns the first [most] bytes of a file, or all of a shorter one: what is too long is not read to its end. */
internal fun BundleFiles.read(name: String, most: Long): ByteArray = readable(name) { open(name).use { it.upTo(most) } }

/** Returns a file as [BundleFiles.map] does. */
internal fun BundleFiles.mapped(name: String): ByteBuffer? = readable(name) { map(name) }

private inline fun <T> readable(name: String, work: () -> T): T =
    try {
        work()
    } catch (failure: IOException) {
        throw UnreadableFile(name, failure.message ?: "it is missing", failure)
    }

private fun InputStream.upTo(most: Long): ByteArray {
    val read = ByteArrayOutputStream()
    val buffer = ByteArray(1 shl 16)
    while (read.size() < most) {
        val count = read(buffer, 0, minOf(buffer.size.toLong(), most - read.size()).toInt())
        if (count < 0) break
        read.write(buffer, 0, count)
    }
    return read.toByteArray()
}
