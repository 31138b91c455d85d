package envise

import java.nio.ByteBuffer

/** A network in an interpreter; it is used by one thread at a time. */
public interface Network : AutoCloseable {
    /**
     * Returns all outputs for one image, in the interpreter's order, each as its numbers row by row.
     *
     * @param image direct, in native byte order, at its start: size * size * 3 bytes, RGB, 0..255, row by row.
     */
    public fun run(image: ByteBuffer): List<FloatArray>

    /** Gives the interpreter's memory back. */
    override fun close()
}

/**
 * The file of a network, checked against the manifest.
 *
 * @property name in the bundle, such as `teacher.tflite`.
 * @property runtime whose interpreter is needed.
 * @property outputSizes how many numbers each of the interpreter's outputs has by the manifest, in its order.
 * @property content direct, in native byte order, at its start; keep it as long as the interpreter that reads it.
 */
public class NetworkFile internal constructor(
    public val name: String,
    public val runtime: Runtime,
    public val outputSizes: List<Int>,
    public val content: ByteBuffer,
)

/** Makes interpreters: what stands between the cascade and TensorFlow Lite or Larq Compute Engine. */
public fun interface NetworkLoader {
    /** Returns a network ready to run; what it throws is the cause of [RefusedNetwork]. */
    public fun load(file: NetworkFile): Network
}
