package envise

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest

/**
 * A bundle whose manifest and files have been checked.
 *
 * Responsible for what the bundle holds. Not for running a network.
 */
public class Bundle private constructor(
    public val manifest: Manifest,
    internal val checksum: String,
    private val files: BundleFiles,
) {
    /**
     * Returns the golden images and answers.
     *
     * @throws EnviseException the file has changed since, or is no golden file.
     */
    public fun golden(): Golden = Golden.of(checkedContent(files, manifest.golden).bytes(), manifest)

    /** Returns the student's entry, of the built-in one or the binary one, which a bundle of a twin alone lacks. */
    internal fun student(builtin: Boolean): StudentEntry =
        if (builtin) manifest.builtinStudent
        else manifest.student ?: throw NoSuchNetwork("student", manifest.files.map { it.name })

    /** Returns the file of a student for an interpreter, checked once more: it may have changed since. */
    internal fun network(student: StudentEntry): NetworkFile {
        val classes = manifest.teacherClasses.size
        // The third are probabilities.
        val sizes = List(3) { if (it == student.scoreOutput) 1 else classes }
        return NetworkFile(student.file.name, student.runtime, sizes, direct(student.file))
    }

    /** As that of a student. */
    internal fun network(teacher: TeacherEntry): NetworkFile =
        NetworkFile(teacher.file.name, teacher.runtime, listOf(manifest.classNames.size), direct(teacher.file))

    private fun direct(file: FileEntry): ByteBuffer {
        val content = checkedContent(files, file)
        if (content.isDirect) return content
        val direct = ByteBuffer.allocateDirect(content.remaining()).order(ByteOrder.nativeOrder())
        direct.put(content).rewind()
        return direct
    }

    public companion object {
        /**
         * Returns the bundle in a folder or a ZIP archive, once every part of it has been checked.
         *
         * @throws EnviseException a file is missing or damaged, the manifest is none, or its parts do not fit together.
         */
        @JvmStatic
        public fun load(place: File): Bundle =
            load(if (place.isDirectory) BundleFiles.folder(place) else BundleFiles.zip(place))

        /** As [load] of a file, from anywhere, such as the assets of an app. */
        @JvmStatic
        public fun load(files: BundleFiles): Bundle {
            val content = files.read(MANIFEST, MOST_BYTES)
            val manifest = Manifest.of(content)
            val checksum = sha256(content)
            val line = "$checksum  $MANIFEST\n".toByteArray()
            if (!files.read(CHECKSUM, line.size + 1L).contentEquals(line)) throw UnvouchedManifest()
            // Labels are needed for more than their checksum, and no file is read twice.
            val contents = manifest.files.associateWith { entry ->
                checkedContent(files, entry).takeIf { entry == manifest.labels }
            }
            checkLabels(contents.getValue(manifest.labels)!!.bytes().toString(Charsets.UTF_8), manifest.classNames)
            return Bundle(manifest, checksum, files)
        }
    }
}

/** Of a file that is read into memory: what a ByteArray holds. */
private const val MOST_BYTES = Int.MAX_VALUE - 8L

/** Returns a file, in the system's memory where it can be, once size and SHA-256 are the manifest's. */
private fun checkedContent(files: BundleFiles, entry: FileEntry): ByteBuffer {
    val content = files.mapped(entry.name)?.order(ByteOrder.nativeOrder())
        ?: ByteBuffer.wrap(files.read(entry.name, minOf(entry.bytes + 1, MOST_BYTES)))
    if (content.remaining().toLong() != entry.bytes) {
        val found = if (content.remaining() > entry.bytes) "more than ${entry.bytes} bytes" else "${content.remaining()} bytes"
        throw DamagedFile(entry.name, found, "${entry.bytes} bytes")
    }
    val found = sha256(content)
    if (found != entry.sha256) throw DamagedFile(entry.name, "$found as SHA-256", entry.sha256)
    return content
}

/** Returns the hexadecimal digest of what remains of a buffer, which stays where it is. */
private fun sha256(content: ByteBuffer) =
    MessageDigest.getInstance("SHA-256").apply { update(content.duplicate()) }.digest().joinToString("") { "%02x".format(it) }

internal fun sha256(content: ByteArray): String = sha256(ByteBuffer.wrap(content))

private fun ByteBuffer.bytes() = ByteArray(remaining()).also { duplicate().get(it) }

private fun checkLabels(written: String, names: List<String>) {
    if (written != names.joinToString("") { "$it\n" }) throw WrongLabels(written.lines().count { it.isNotEmpty() }, names.size)
}
