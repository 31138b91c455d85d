package envise

import org.bytedeco.javacpp.BytePointer
import org.bytedeco.javacpp.FloatPointer
import org.bytedeco.javacpp.Pointer
import org.bytedeco.tensorflowlite.TfLiteInterpreter
import org.bytedeco.tensorflowlite.TfLiteModel
import org.bytedeco.tensorflowlite.TfLiteTensor
import org.bytedeco.tensorflowlite.global.tensorflowlite.*
import java.nio.ByteBuffer

/** A network in the C library of TensorFlow Lite, which runs it on this computer. */
class TfliteNetwork(file: NetworkFile) : Network {
    private val content = BytePointer(file.content) // the model reads it as long as it lives
    private val model: TfLiteModel = requireNotNull(TfLiteModelCreate(content, content.limit())) { "no flatbuffer" }
    private val interpreter: TfLiteInterpreter = interpreter()

    override fun run(image: ByteBuffer): List<FloatArray> {
        checkDone(TfLiteTensorCopyFromBuffer(TfLiteInterpreterGetInputTensor(interpreter, 0), Pointer(image), image.remaining().toLong()))
        checkDone(TfLiteInterpreterInvoke(interpreter))
        return List(TfLiteInterpreterGetOutputTensorCount(interpreter)) { floats(TfLiteInterpreterGetOutputTensor(interpreter, it)) }
    }

    override fun close() {
        TfLiteInterpreterDelete(interpreter)
        TfLiteModelDelete(model)
    }

    private fun interpreter(): TfLiteInterpreter {
        val options = TfLiteInterpreterOptionsCreate()
        try {
            TfLiteInterpreterOptionsSetNumThreads(options, 1)
            val made = requireNotNull(TfLiteInterpreterCreate(model, options)) { "an operator is unknown" }
            checkDone(TfLiteInterpreterAllocateTensors(made))
            return made
        } finally {
            TfLiteInterpreterOptionsDelete(options)
        }
    }

    private fun floats(tensor: TfLiteTensor): FloatArray {
        check(TfLiteTensorType(tensor) == kTfLiteFloat32) { "an output of type ${TfLiteTensorType(tensor)}, expected float32" }
        val values = FloatArray((TfLiteTensorByteSize(tensor) / Float.SIZE_BYTES).toInt())
        FloatPointer(values.size.toLong()).use {
            checkDone(TfLiteTensorCopyToBuffer(tensor, it, TfLiteTensorByteSize(tensor)))
            it.get(values)
        }
        return values
    }

    private fun checkDone(status: Int) = check(status == kTfLiteOk) { "TensorFlow Lite failed with status $status" }
}
