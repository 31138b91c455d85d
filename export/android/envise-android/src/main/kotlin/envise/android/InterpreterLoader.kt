package envise.android

import envise.Network
import envise.NetworkFile
import envise.NetworkLoader
import envise.Runtime
import envise.WrongLibrary
import org.tensorflow.lite.Interpreter
import java.nio.ByteBuffer
import java.nio.ByteOrder

/**
 * Makes networks of TensorFlow Lite's `Interpreter`.
 *
 * The class comes with the app: from `org.tensorflow:tensorflow-lite`, or from Larq Compute Engine's AAR, which takes its
 * place. Only the second runs binary students.
 */
public class InterpreterLoader private constructor(
    private val runtimes: Set<Runtime>,
    private val threads: Int,
    private val useXnnpack: Boolean,
) : NetworkLoader {
    init {
        require(threads > 0) { "$threads threads: expected at least 1" }
    }

    /**
     * Returns a network in an interpreter of its own.
     *
     * @throws WrongLibrary it is a binary student, and the library the stock one.
     * @throws IllegalArgumentException TensorFlow Lite refuses the file.
     */
    override fun load(file: NetworkFile): Network {
        if (file.runtime !in runtimes) throw WrongLibrary(file.name)
        val options = Interpreter.Options().setNumThreads(threads).setUseXNNPACK(useXnnpack)
        return InterpretedNetwork(Interpreter(file.content, options), file.outputSizes)
    }

    public companion object {
        /** For an app with `org.tensorflow:tensorflow-lite`; XNNPACK makes float and int8 networks fast there. */
        @JvmStatic
        @JvmOverloads
        public fun stock(threads: Int = 1): InterpreterLoader = InterpreterLoader(setOf(Runtime.TFLITE), threads, useXnnpack = true)

        /** For an app with Larq Compute Engine's AAR, which does not work with XNNPACK, whichever network it runs. */
        @JvmStatic
        @JvmOverloads
        public fun lce(threads: Int = 1): InterpreterLoader = InterpreterLoader(Runtime.entries.toSet(), threads, useXnnpack = false)
    }
}

/**
 * A network in its interpreter, with memory for its outputs.
 *
 * Their sizes are the manifest's, not asked of `Tensor`: that was a class in TensorFlow Lite 2.6 and is an interface in 2.16,
 * so code compiled for one does not run with the other. A network with larger outputs is refused by the interpreter.
 */
private class InterpretedNetwork(private val interpreter: Interpreter, outputSizes: List<Int>) : Network {
    private val outputs = outputSizes.map { ByteBuffer.allocateDirect(it * Float.SIZE_BYTES).order(ByteOrder.nativeOrder()) }
    private val outputsByIndex = outputs.withIndex().associate<_, Int, Any> { (index, output) -> index to output }

    override fun run(image: ByteBuffer): List<FloatArray> {
        outputs.forEach { it.clear() }
        interpreter.runForMultipleInputsOutputs(arrayOf<Any>(image), outputsByIndex)
        return outputs.map { output ->
            output.flip() // as much as was written
            FloatArray(output.remaining() / Float.SIZE_BYTES).also { output.asFloatBuffer().get(it) }
        }
    }

    override fun close() = interpreter.close()
}
