package envise.sample

import android.app.Activity
import android.app.Instrumentation
import android.os.Bundle
import envise.android.phoneBenchmark

/**
 * Measures the installed bundle and prints the JSON that `python -m envise_tf.export.benchmark BUNDLE --merge` reads:
 *
 *     adb shell am instrument -w envise.sample/.PhoneBenchmark > phone.json
 */
class PhoneBenchmark : Instrumentation() {
    override fun onCreate(arguments: Bundle?) {
        super.onCreate(arguments)
        start() // onStart() comes on a thread of its own
    }

    override fun onStart() {
        try {
            finish(Activity.RESULT_OK, printed(phoneBenchmark(installedBundle(targetContext), IS_LCE)))
        } catch (failure: Exception) {
            finish(Activity.RESULT_CANCELED, printed("no figures: $failure"))
        }
    }

    /** `am instrument -w` prints this text and nothing else. */
    private fun printed(text: String) = Bundle().apply { putString(REPORT_KEY_STREAMRESULT, text + "\n") }
}
