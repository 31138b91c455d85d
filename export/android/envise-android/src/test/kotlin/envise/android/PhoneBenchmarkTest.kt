package envise.android

import org.junit.runner.RunWith
import org.robolectric.annotation.Config
import java.io.File
import kotlin.test.Test
import kotlin.test.assertTrue

@RunWith(RunnerWithNatives::class)
@Config(sdk = [34], manifest = Config.NONE)
class PhoneBenchmarkTest : RealInference() {
    /** Left in target/phone.json, which tests/export/test_android.py merges into a report. */
    @Test
    fun `what it measures is JSON for the report`() {
        val json = phoneBenchmark(bundle, isLce = false, rounds = 1)
        assertTrue("\"library\":\"TensorFlow Lite\"" in json, json)
        assertTrue("\"what\":\"student_builtin\",\"outlier_rate\":0.05,\"threads\":2" in json, json)
        File("target/phone.json").writeText(json)
    }
}
