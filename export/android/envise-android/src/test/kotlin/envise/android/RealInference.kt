package envise.android

import envise.Bundle
import org.junit.Assume.assumeTrue
import org.junit.Before
import org.junit.runners.model.FrameworkMethod
import org.robolectric.RobolectricTestRunner
import org.robolectric.internal.bytecode.InstrumentationConfiguration
import java.io.File

/** Tests that run TensorFlow Lite; of the machines that Maven runs on, only Linux on x86-64 has its Java natives. */
abstract class RealInference {
    protected val bundle: Bundle = Bundle.load(File("src/test/assets/digits"))

    @Before
    fun natives() {
        val machine = Pair(System.getProperty("os.name"), System.getProperty("os.arch"))
        assumeTrue("no natives of TensorFlow Lite for $machine", machine == Pair("Linux", "amd64"))
    }
}

/** Android by Robolectric, but TensorFlow Lite as it is: a process can load its natives only once. */
class RunnerWithNatives(tests: Class<*>) : RobolectricTestRunner(tests) {
    override fun createClassLoaderConfig(method: FrameworkMethod): InstrumentationConfiguration =
        InstrumentationConfiguration.Builder(super.createClassLoaderConfig(method)).doNotAcquirePackage("org.tensorflow.").build()
}
