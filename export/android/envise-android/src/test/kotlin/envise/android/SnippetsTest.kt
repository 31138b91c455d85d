package envise.android

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Color
import envise.Bundle
import envise.Cascade
import envise.Classification
import envise.ClassifierOptions
import envise.ImageClassifier
import envise.Orientation
import envise.RunningMode
import org.junit.runner.RunWith
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertNotNull

/** README.md and docs/android.md quote what stands between the marks; tests/test_snippets.py holds them to it. */
@RunWith(RunnerWithNatives::class)
@Config(sdk = [21, 34], manifest = Config.NONE)
class SnippetsTest : RealInference() {
    private val context: Context = RuntimeEnvironment.getApplication()
    private val image = bundle.golden().images[2]

    init {
        context.assets.install("digits", digits(), isCompressed = false)
    }

    @Test
    fun `a bitmap is answered`() {
        val bitmap = bitmap(image)
        // [start five-lines]
        val bundle = Bundle.load(AssetFiles(context.assets, "digits"))             // checks every file
        val cascade = Cascade(bundle, InterpreterLoader.stock(), builtin = true)   // loads the student
        bundle.golden().check(cascade)                                             // throws if this phone answers otherwise
        val answer = cascade.classify(bitmap.toPicture())                          // a deferred image loads the teacher
        println("${answer.name}, by the ${if (answer.byStudent) "student" else "teacher"}")
        // [end five-lines]
        assertEquals("three", answer.name)
        cascade.close()
    }

    @Test
    fun `a camera's frames are answered`() {
        val shown = LinkedBlockingQueue<Classification>()
        val show = { classification: Classification -> shown.put(classification) }
        val report = { failure: Exception -> throw failure }
        // [start live-stream]
        val options = ClassifierOptions.builder()
            .setRunningMode(RunningMode.LIVE_STREAM)
            .setBuiltin(true)
            .setMaxResults(3)
            .setResultListener { classification -> show(classification) }    // on the classifier's thread
            .setErrorListener { failure -> report(failure) }
            .build()
        val classifier = ImageClassifier.create(bundle, InterpreterLoader.stock(), options)
        // [end live-stream]
        val rgba = java.nio.ByteBuffer.allocateDirect(4 * 16 * 16)
        for (index in image.indices step 3) rgba.put(image, index, 3).put(-1)
        classifier.classifyAsync(rgbaPicture(Plane(rgba, 4 * 16, 4), 16, 16, Orientation.ofDegrees(0)), 1)
        val classification = assertNotNull(shown.poll(60, TimeUnit.SECONDS))
        assertEquals("three", classification.categories.first().name)
        assertEquals(3, classification.categories.size)
        classifier.close()
    }

    private fun bitmap(image: ByteArray) = Bitmap.createBitmap(16, 16, Bitmap.Config.ARGB_8888).apply {
        for (index in 0 until 16 * 16) {
            val (red, green, blue) = List(3) { image[3 * index + it].toInt() and 0xFF }
            setPixel(index % 16, index / 16, Color.rgb(red, green, blue))
        }
    }
}
