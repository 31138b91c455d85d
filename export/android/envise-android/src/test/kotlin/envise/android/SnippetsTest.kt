package envise.android

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Color
import envise.Bundle
import envise.Cascade
import envise.CentralSquare
import envise.Classification
import envise.ClassifierOptions
import envise.ImageClassifier
import envise.Orientation
import envise.RunningMode
import org.junit.runner.RunWith
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import java.nio.ByteBuffer
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertNotNull

/** README.md and docs/android.md quote what stands between the marks; tests/test_snippets.py holds them to it. */
@RunWith(RunnerWithNatives::class)
@Config(sdk = [21, 34], manifest = Config.NONE)
class SnippetsTest : RealInference() {
    private val context: Context = RuntimeEnvironment.getApplication()
    private val image = bundle.golden().images[2]

    init {
        context.assets.install("mine", digits(), isCompressed = false)
    }

    @Test
    fun `a bitmap is answered`() {
        val bitmap = bitmap(image)
        // [start five-lines]
        val bundle = Bundle.load(AssetFiles(context.assets, "mine"))               // checks every file
        val cascade = Cascade(bundle, InterpreterLoader.stock(), builtin = true)   // loads the student
        bundle.golden().check(cascade)                                             // throws if this phone answers otherwise
        val answer = cascade.classify(bitmap.toPicture())                          // a deferred image loads the teacher
        println("${answer.name}, by the ${if (answer.byStudent) "student" else "teacher"}")
        // [end five-lines]
        assertEquals("three", answer.name)
        cascade.close()
    }

    @Test
    fun `a photograph is turned upright`() {
        val exifTag = 6
        val bitmap = bitmap(image)
        // [start photograph]
        val picture = bitmap.toPicture(Orientation.ofExif(exifTag))   // ExifInterface's TAG_ORIENTATION
        // [end photograph]
        assertEquals(Orientation.ofDegrees(90), Orientation.ofExif(6))
        assertContentEquals(CentralSquare(16).of(bitmap.toPicture(Orientation.QUARTER_TURNED)), CentralSquare(16).of(picture))
        assertEquals(Orientation.UPRIGHT, Orientation.ofExif(0))
    }

    @Test
    fun `a camera's frames are answered`() {
        val shown = LinkedBlockingQueue<Classification>()
        val show = { classification: Classification -> shown.put(classification) }
        val report = { failure: Exception -> throw failure }
        // [start live-stream]
        val options = ClassifierOptions.builder()
            .setRunningMode(RunningMode.LIVE_STREAM)
            .setBuiltin(true)                                              // the student for stock TensorFlow Lite
            .setMaxResults(3)
            .setResultListener { classification -> show(classification) }   // on the classifier's own thread
            .setErrorListener { failure -> report(failure) }
            .build()
        val classifier = ImageClassifier.create(bundle, InterpreterLoader.stock(), options)
        // [end live-stream]
        val grey = ByteBuffer.allocateDirect(16 * 16)
        for (index in image.indices step 3) grey.put(image[index])
        val colourless = ByteBuffer.allocateDirect(8 * 8).apply { while (hasRemaining()) put(-128) }
        val frame = Frame(listOf(Plane(grey, 16, 1), Plane(colourless, 8, 1), Plane(colourless, 8, 1)), 16, 16, 0)
        val milliseconds = 1L
        // [start frame]
        val planes = frame.planes.map { Plane(it.buffer, it.rowStride, it.pixelStride) }
        val orientation = Orientation.ofDegrees(frame.rotationDegrees)
        classifier.classifyAsync(yuvPicture(planes, frame.width, frame.height, orientation), milliseconds)
        // [end frame]
        val classification = assertNotNull(shown.poll(60, TimeUnit.SECONDS))
        assertEquals("three", classification.categories.first().name)
        assertEquals(3, classification.categories.size)
        classifier.close()
    }

    @Test
    fun `a bundle that was downloaded is read`() {
        val folder = java.io.File("src/test/assets/digits")
        // [start downloaded]
        val bundle = Bundle.load(folder)   // or a ZIP archive
        // [end downloaded]
        assertEquals("digits", bundle.manifest.name)
    }

    /** In the shape of CameraX's frames. */
    private class Frame(val planes: List<Plane>, val width: Int, val height: Int, val rotationDegrees: Int)

    private fun bitmap(image: ByteArray) = Bitmap.createBitmap(16, 16, Bitmap.Config.ARGB_8888).apply {
        for (index in 0 until 16 * 16) {
            val (red, green, blue) = List(3) { image[3 * index + it].toInt() and 0xFF }
            setPixel(index % 16, index / 16, Color.rgb(red, green, blue))
        }
    }
}
