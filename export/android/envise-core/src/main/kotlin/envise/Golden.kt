package envise

import java.io.IOException
import java.nio.BufferUnderflowException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.zip.ZipInputStream

/**
 * Real images with the answers that the bundle's files gave where it was written.
 *
 * @property images each size * size * 3 bytes, RGB, 0..255.
 */
public class Golden private constructor(public val images: List<ByteArray>, private val arrays: Map<String, NpyArray>) {
    /**
     * Answers every golden image again: run it at the first start after an update, off the main thread.
     *
     * They are no images of the stream, so a cascade that observes takes nothing from them.
     *
     * @throws GoldenMismatch this device answers otherwise: answer nothing on it.
     * @throws EnviseException the golden file lacks this student's answers, or the cascade fails.
     */
    public fun check(cascade: Cascade) {
        val prefix = if (cascade.isBuiltin) "builtin_" else ""
        val labels = array(prefix + "label", "<i8").bytes.asLongBuffer()
        val byStudent = array(prefix + "by_student", "|b1").bytes
        images.forEachIndexed { index, image ->
            val found = cascade.unobserved(image)
            val expected = Pair(labels.get(index), byStudent.get(index) == 1.toByte())
            if (Pair(found.label.toLong(), found.byStudent) != expected) {
                throw GoldenMismatch(index, told(found.label.toLong(), found.byStudent), told(expected.first, expected.second))
            }
        }
    }

    /** Returns what a network said where the bundle was written, such as teacher_logits, image by image. */
    internal fun floats(name: String): FloatArray {
        val array = arrays[name]?.takeIf { it.type == "<f4" && it.shape.first() == images.size }
            ?: throw WrongGolden("it has no $name of float32")
        return array.bytes.duplicate().order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().let { all -> FloatArray(all.remaining()).also { all.get(it) } }
    }

    private fun array(name: String, type: String): NpyArray =
        arrays[name]?.takeIf { it.type == type && it.shape == listOf(images.size) }
            ?: throw WrongGolden("it has no $name of ${images.size} numbers, $type")

    private fun told(label: Long, byStudent: Boolean) = "class $label by the ${if (byStudent) "student" else "teacher"}"

    internal companion object {
        fun of(content: ByteArray, manifest: Manifest): Golden {
            val arrays = npz(content)
            val shape = listOf(manifest.goldenImages, manifest.imageSize, manifest.imageSize, 3)
            val images = arrays["images"]?.takeIf { it.type == "|u1" && it.shape == shape }
                ?: throw WrongGolden("it has no images of uint8 $shape")
            val each = images.bytes.remaining() / manifest.goldenImages
            return Golden(List(manifest.goldenImages) { ByteArray(each).also { images.bytes.get(it) } }, arrays)
        }
    }
}

/** An array of NumPy: its [type] as NumPy writes it, such as `<f4`, and its numbers row by row, in that order. */
internal class NpyArray(val type: String, val shape: List<Int>, val bytes: ByteBuffer)

private fun npz(content: ByteArray): Map<String, NpyArray> =
    try {
        ZipInputStream(content.inputStream()).use { zip ->
            generateSequence { zip.nextEntry }.associate { it.name.removeSuffix(".npy") to npy(zip.readBytes()) }
        }
    } catch (failure: IOException) {
        throw WrongGolden(failure.message ?: "no archive", failure)
    }

private val MAGIC = byteArrayOf(0x93.toByte()) + "NUMPY".toByteArray()
private val HEADER = Regex("""'descr': '([^']+)', 'fortran_order': False, 'shape': \(([0-9, ]*)\)""")

private fun npy(content: ByteArray): NpyArray =
    try {
        val all = ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN)
        val magic = ByteArray(MAGIC.size).also { all.get(it) }
        val version = all.short.toInt() and 0xFF
        if (!magic.contentEquals(MAGIC) || version != 1) throw WrongGolden("an array is no .npy of version 1")
        val header = ByteArray(all.short.toInt() and 0xFFFF).also { all.get(it) }.toString(Charsets.ISO_8859_1)
        val (type, sides) = HEADER.find(header)?.destructured ?: throw WrongGolden("an array has the header $header")
        val shape = sides.split(',').mapNotNull { it.trim().toIntOrNull() }
        val bytes = all.slice().order(ByteOrder.LITTLE_ENDIAN)
        val expected = shape.fold(type.drop(2).toLong()) { product, side -> product * side }
        if (bytes.remaining().toLong() != expected) throw WrongGolden("an array has ${bytes.remaining()} bytes, not $expected")
        NpyArray(type, shape, bytes)
    } catch (failure: BufferUnderflowException) {
        throw WrongGolden("an array is cut short", failure)
    } catch (failure: NumberFormatException) {
        throw WrongGolden("an array is of objects", failure)
    }
