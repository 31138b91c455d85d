package envise.android

import envise.Cascade
import envise.NetworkFile
import envise.NetworkLoader
import envise.WrongNetwork
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith

class InterpreterLoaderTest : RealInference() {
    @Test
    fun `the golden images have the answers that Python had`() {
        for (loader in listOf(InterpreterLoader.stock(), InterpreterLoader.stock(threads = 2), InterpreterLoader.lce())) {
            Cascade(bundle, loader, builtin = true).use { cascade ->
                bundle.golden().check(cascade)
                assertEquals(Pair(16, 16), cascade.statistics.run { Pair(answered, deferred) })
            }
        }
    }

    @Test
    fun `a network with other outputs than the manifest's is refused`() {
        val loaded = mutableListOf<NetworkFile>()
        Cascade(bundle, { file -> InterpreterLoader.stock().load(file.also { loaded += it }) }, builtin = true).use {
            bundle.golden().check(it)
        }
        val teacher = NetworkLoader { InterpreterLoader.stock().load(loaded[1]) }
        Cascade(bundle, teacher, builtin = true).use { cascade ->
            assertFailsWith<WrongNetwork> { cascade.classify(bundle.golden().images[0]) }
        }
    }

    @Test
    fun `no threads are refused`() {
        val failure = assertFailsWith<IllegalArgumentException> { InterpreterLoader.stock(threads = 0) }
        assertEquals("0 threads: expected at least 1", failure.message)
    }
}
