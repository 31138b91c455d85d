package envise.android

import android.view.View
import android.view.ViewGroup
import android.widget.TextView
import envise.ImageClassifier
import envise.RgbaPicture
import envise.sample.AnsweringActivity
import envise.sample.installedBundle
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import kotlin.test.Test
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

/** The sample app, with pictures in the place of its camera. */
@RunWith(RunnerWithNatives::class)
@Config(sdk = [34], manifest = Config.NONE)
class SampleTest : RealInference() {
    private val app = RuntimeEnvironment.getApplication()

    @Test
    fun `the app shows what its camera sees`() {
        app.assets.install("zoo", digits(), isCompressed = false)
        val activity = Robolectric.buildActivity(PictureActivity::class.java).setup()
        val screen = activity.get()
        await(screen) { screen.isStarted }
        val image = bundle.golden().images[2]
        val pixels = ByteArray(4 * 16 * 16) { if (it % 4 == 3) -1 else image[3 * (it / 4) + it % 4] }
        screen.classifier!!.classifyAsync(RgbaPicture(pixels, 16, 16), 1)
        await(screen) { screen.shown().endsWith("\nstudent") }
        assertTrue(Regex("three  \\d+ %\n\\w+  \\d+ %\n\\w+  \\d+ %\nstudent").matches(screen.shown()), screen.shown())
        activity.pause().stop().destroy()
        assertFailsWith<IllegalStateException> { screen.classifier!!.classifyAsync(RgbaPicture(pixels, 16, 16), 2) }
    }

    @Test
    fun `without a bundle the app says what to do`() {
        val screen = Robolectric.buildActivity(PictureActivity::class.java).setup().get()
        await(screen) { "--android" in screen.shown() }
        assertFailsWith<IllegalStateException> { installedBundle(app) }
    }

    /** Lets the main thread work until something holds, for a minute at most. */
    private fun await(screen: PictureActivity, holds: () -> Boolean) {
        repeat(6000) {
            shadowOf(android.os.Looper.getMainLooper()).idle()
            if (holds()) return
            Thread.sleep(10)
        }
        throw AssertionError("the app still shows ${screen.shown()}")
    }
}

class PictureActivity : AnsweringActivity() {
    var classifier: ImageClassifier? = null
    var isStarted = false

    override fun startCamera(classifier: ImageClassifier) {
        this.classifier = classifier
        isStarted = true
    }

    override fun stopCamera() {
        isStarted = false
    }

    fun shown(): String = findViewById(android.R.id.content).texts().single()

    private fun View.texts(): List<String> = when (this) {
        is TextView -> listOf(text.toString())
        is ViewGroup -> (0 until childCount).flatMap { getChildAt(it).texts() }
        else -> emptyList()
    }
}
