package envise.sample

import android.app.Activity
import android.os.Bundle
import android.view.Gravity
import android.view.ViewGroup.LayoutParams.MATCH_PARENT
import android.view.ViewGroup.LayoutParams.WRAP_CONTENT
import android.widget.FrameLayout
import android.widget.TextView
import envise.Classification
import envise.ClassifierOptions
import envise.ImageClassifier
import envise.RunningMode
import java.util.Locale

/** Shows what a camera sees and what the cascade says of it; where the frames come from is left open. */
abstract class AnsweringActivity : Activity() {
    private lateinit var said: TextView
    private var classifier: ImageClassifier? = null

    /** Where the camera's picture is shown. */
    protected lateinit var preview: FrameLayout

    /** Begins to hand frames to a classifier, until [stopCamera]; called on the main thread. */
    protected abstract fun startCamera(classifier: ImageClassifier)

    /** Hands no more frames out, once it has returned. */
    protected abstract fun stopCamera()

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        preview = FrameLayout(this)
        said = TextView(this).apply { textSize = 20f }
        setContentView(
            FrameLayout(this).apply {
                addView(preview)
                addView(said, FrameLayout.LayoutParams(MATCH_PARENT, WRAP_CONTENT, Gravity.BOTTOM))
            },
        )
        said.text = "checking the bundle"
        Thread { open() }.start() // hashing the files takes longer than a frame may
    }

    override fun onDestroy() {
        stopCamera()
        classifier?.close()
        super.onDestroy()
    }

    private fun open() {
        try {
            val made = ImageClassifier.create(installedBundle(application), loader(), options())
            checkOnceAfterUpdate(made)
            runOnUiThread { use(made) }
        } catch (failure: Exception) {
            show(failure)
        }
    }

    private fun use(made: ImageClassifier) {
        if (isDestroyed) return made.close()
        classifier = made
        startCamera(made)
    }

    private fun options() = ClassifierOptions.builder()
        .setRunningMode(RunningMode.LIVE_STREAM)
        .setBuiltin(!IS_LCE)
        .setMaxResults(3)
        .setResultListener { show(it) }
        .setErrorListener { show(it) }
        .build()

    /** A phone that answers the golden images otherwise than the computer that wrote the bundle must answer nothing. */
    private fun checkOnceAfterUpdate(classifier: ImageClassifier) {
        val preferences = getPreferences(MODE_PRIVATE)
        val updated = packageManager.getPackageInfo(packageName, 0).lastUpdateTime
        if (preferences.getLong("checked", -1) == updated) return
        classifier.checkGolden()
        preferences.edit().putLong("checked", updated).apply()
    }

    private fun show(classification: Classification) {
        val lines = classification.categories.map { String.format(Locale.ROOT, "%s  %.0f %%", it.name, 100 * it.score) }
        val who = if (classification.answer.byStudent) "student" else "teacher"
        runOnUiThread { said.text = (lines + who).joinToString("\n") }
    }

    private fun show(failure: Exception) = runOnUiThread { said.text = failure.message ?: failure.toString() }
}
