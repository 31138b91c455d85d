package envise

import org.junit.jupiter.api.Timeout
import java.nio.ByteBuffer
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.CountDownLatch
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.Semaphore
import java.util.concurrent.TimeUnit
import kotlin.concurrent.thread
import kotlin.test.AfterTest
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertNotEquals
import kotlin.test.assertNull
import kotlin.test.assertSame
import kotlin.test.assertTrue

@Timeout(60, threadMode = Timeout.ThreadMode.SEPARATE_THREAD) // a thread that waits for ever must not stop the build
class ImageClassifierTest {
    private val bundle = Bundle.load(inMemory(INTACT))
    private val picture = RgbaPicture(ByteArray(4 * 4 * 4), 4, 4)
    private val network = Gated()
    private val results = LinkedBlockingQueue<Classification>()
    private val failures = LinkedBlockingQueue<Exception>()
    private val opened = mutableListOf<ImageClassifier>()

    @AfterTest
    fun close() {
        network.gate.release(1000)
        opened.forEach { it.close() }
    }

    private fun classifier(set: ClassifierOptions.Builder.() -> Unit = {}) =
        ImageClassifier.create(bundle, network, ClassifierOptions.builder().apply(set).build()).also { opened += it }

    private fun live(set: ClassifierOptions.Builder.() -> Unit = {}) = classifier {
        setRunningMode(RunningMode.LIVE_STREAM)
        setResultListener { results.add(it) }
        setErrorListener { failures.add(it) }
        set()
    }

    @Test
    fun `each mode has its own method`() {
        network.gate.release(10)
        val image = classifier()
        assertNull(image.classify(picture).timestampMilliseconds)
        assertFailsWith<IllegalStateException> { image.classifyForVideo(picture, 1) }
        assertFailsWith<IllegalStateException> { image.classifyAsync(picture, 1) }
        val video = classifier { setRunningMode(RunningMode.VIDEO) }
        assertEquals(7, video.classifyForVideo(picture, 7).timestampMilliseconds)
        assertFailsWith<IllegalStateException> { video.classify(picture) }
        assertFailsWith<IllegalStateException> { live().classify(picture) }
    }

    @Test
    fun `timestamps must grow`() {
        network.gate.release(10)
        val video = classifier { setRunningMode(RunningMode.VIDEO) }
        video.classifyForVideo(picture, 7)
        for (stamp in listOf(7L, 6L)) assertFailsWith<IllegalArgumentException> { video.classifyForVideo(picture, stamp) }
        video.classifyForVideo(picture, 8)
        val live = live()
        live.classifyAsync(picture, 7)
        assertFailsWith<IllegalArgumentException> { live.classifyAsync(picture, 7) }
    }

    @Test
    fun `the newest frame takes the place of the one that waits`() {
        val live = live()
        live.classifyAsync(picture, 1)
        network.awaitRun()
        for (stamp in 2L..5L) live.classifyAsync(picture, stamp)
        assertEquals(0, live.statistics.answered) // is read while the first is being answered
        network.gate.release(2)
        assertEquals(listOf(1L, 5L), List(2) { results.take().timestampMilliseconds })
        assertEquals(3, live.dropped)
        assertEquals(2, live.statistics.answered)
    }

    @Test
    fun `the bytes of a frame may be used again at once`() {
        val pixels = ByteArray(4 * 4 * 4) { -1 }
        val live = live()
        live.classifyAsync(picture, 1)
        network.awaitRun()
        live.classifyAsync(RgbaPicture(pixels, 4, 4), 2)
        pixels.fill(0)
        network.gate.release(2)
        repeat(2) { results.take() }
        // Transparent black is laid over white; what was read must be the opaque white of before.
        assertTrue(network.seen[1].all { it == (-1).toByte() })
    }

    @Test
    fun `a frame that waits can be cancelled and the one being answered goes on`() {
        val live = live()
        live.classifyAsync(picture, 1)
        network.awaitRun()
        assertFalse(live.cancel())
        live.classifyAsync(picture, 2)
        assertTrue(live.cancel())
        assertFalse(live.cancel())
        live.classifyAsync(picture, 3)
        network.gate.release(2)
        assertEquals(listOf(1L, 3L), List(2) { results.take().timestampMilliseconds })
        assertEquals(1, live.dropped)
    }

    @Test
    fun `closing waits for the frame being answered and drops its result and the frame that waits`() {
        val live = live()
        live.classifyAsync(picture, 1)
        network.awaitRun()
        live.classifyAsync(picture, 2)
        val closing = thread { live.close() }
        while (closing.state != Thread.State.WAITING && closing.state != Thread.State.TIMED_WAITING) Thread.onSpinWait()
        assertFalse(network.isClosed)
        closing.interrupt() // is waited for all the same
        network.gate.release()
        closing.join()
        assertTrue(network.isClosed)
        assertTrue(results.isEmpty() && failures.isEmpty())
        assertEquals(1, network.seen.size)
        assertEquals(1, live.dropped)
        assertFailsWith<IllegalStateException> { live.classifyAsync(picture, 3) }
        assertFailsWith<IllegalStateException> { live.checkGolden() }
        live.close()
    }

    @Test
    fun `a listener may close the stream`() {
        val closed = CountDownLatch(1)
        lateinit var live: ImageClassifier
        live = live {
            setResultListener {
                live.close()
                closed.countDown()
            }
        }
        network.gate.release(1)
        live.classifyAsync(picture, 1)
        assertTrue(closed.await(1, TimeUnit.MINUTES))
        live.close()
        assertTrue(network.isClosed)
    }

    @Test
    fun `a live stream makes, uses and closes its interpreters on one thread and calls listeners there`() {
        network.score = 0f // every image is deferred
        network.gate.release(100)
        val live = live {
            setResultListener {
                network.threads += Thread.currentThread()
                results.add(it)
            }
        }
        for (stamp in 1L..3L) {
            live.classifyAsync(picture, stamp)
            results.take()
        }
        assertFailsWith<GoldenMismatch> { live.checkGolden() }
        live.close()
        val only = network.threads.toSet().single()
        assertNotEquals(Thread.currentThread(), only)
        assertEquals(setOf("student.tflite", "teacher.tflite"), network.loaded.toSet())
    }

    @Test
    fun `an error is told and the stream goes on`() {
        network.gate.release(100)
        var isFirst = true
        val live = live {
            setResultListener { if (isFirst) throw IllegalArgumentException("of the app").also { isFirst = false } else results.add(it) }
        }
        live.classifyAsync(picture, 1)
        assertEquals("of the app", failures.take().message)
        network.score = Float.NaN
        network.teacherLogits = FloatArray(5) { Float.NaN }
        live.classifyAsync(picture, 2)
        assertTrue(failures.take() is NotNumbers)
        network.score = 1f
        live.classifyAsync(picture, 3)
        assertEquals(3L, results.take().timestampMilliseconds)
        assertSame(1, network.threads.toSet().size)
    }

    @Test
    fun `an error that nobody listens to goes to the thread's handler and the stream goes on`() {
        network.gate.release(100)
        val uncaught = LinkedBlockingQueue<Throwable>()
        val before = Thread.getDefaultUncaughtExceptionHandler()
        Thread.setDefaultUncaughtExceptionHandler { _, failure -> uncaught.add(failure) }
        try {
            val live = ImageClassifier.create(
                bundle,
                network,
                ClassifierOptions.builder()
                    .setRunningMode(RunningMode.LIVE_STREAM)
                    .setResultListener { if (it.timestampMilliseconds == 1L) error("of the app") else results.add(it) }
                    .build(),
            ).also { opened += it }
            live.classifyAsync(picture, 1)
            assertEquals("of the app", uncaught.take().message)
            live.classifyAsync(picture, 2)
            assertEquals(2L, results.take().timestampMilliseconds)
        } finally {
            Thread.setDefaultUncaughtExceptionHandler(before)
        }
    }

    @Test
    fun `many threads may hand in frames and every one is answered or dropped`() {
        network.gate.release(10_000)
        val live = live()
        val clock = java.util.concurrent.atomic.AtomicLong()
        var handedIn = 0
        val hands = List(4) {
            thread {
                repeat(250) {
                    synchronized(clock) {
                        live.classifyAsync(picture, clock.incrementAndGet())
                        handedIn++
                    }
                }
            }
        }
        hands.forEach { it.join() }
        while (results.size + live.dropped < handedIn) Thread.onSpinWait()
        val stamps = results.map { it.timestampMilliseconds!! }
        assertEquals(stamps.sorted(), stamps)
        assertEquals(clock.get(), stamps.last())
        assertEquals(1000, live.statistics.answered + live.dropped)
    }

    @Test
    fun `what fails while it is made is thrown and leaves no thread`() {
        val options = { name: String ->
            ClassifierOptions.builder().setRunningMode(RunningMode.LIVE_STREAM).setResultListener { }
                .setCategoryAllowlist(listOf(name)).build()
        }
        val failure = assertFailsWith<UnknownCategory> { ImageClassifier.create(bundle, network, options("unicorn")) }
        assertTrue("unicorn" in failure.message!!)
        val broken = NetworkLoader { throw IllegalStateException("no interpreter") }
        assertFailsWith<RefusedNetwork> { ImageClassifier.create(bundle, broken, options("ant")) }
        val ours = Thread.getAllStackTraces().keys.filter { it.name == "envise" }
        ours.forEach { it.join(60_000) }
        assertTrue(ours.none { it.isAlive })
    }

    @Test
    fun `the observation is asked for by an option and its state outlives the classifier`() {
        network.score = 0f
        network.gate.release(1000)
        val first = classifier { setObservation(ObservationOptions(window = 100)) }
        repeat(30) { first.classify(picture) }
        assertEquals(30, first.observation!!.images)
        val second = classifier { setObservation(ObservationOptions(window = 100, state = first.observation!!.state())) }
        repeat(70) { second.classify(picture) }
        assertEquals(100, second.observation!!.images)
        assertNotEquals(bundle.manifest.adaptation!!.prior, second.observation!!.prior)
        assertNull(classifier().observation)
    }

    @Test
    fun `infinite logits share what there is`() {
        network.gate.release(1)
        network.studentLogits = floatArrayOf(Float.POSITIVE_INFINITY, 0f, Float.POSITIVE_INFINITY)
        assertEquals(listOf(4 to 0.5f, 2 to 0.5f, 0 to 0f), classifier().classify(picture).categories.map { it.index to it.score })
    }

    @Test
    fun `options that do not fit together are refused`() {
        fun refused(set: ClassifierOptions.Builder.() -> Unit) =
            assertFailsWith<IllegalArgumentException> { ClassifierOptions.builder().apply(set).build() }
        refused { setMaxResults(0) }
        for (share in listOf(-0.1f, 1.1f, Float.NaN)) refused { setScoreThreshold(share) }
        refused { setCategoryAllowlist(listOf("ant")).setCategoryDenylist(listOf("bee")) }
        refused { setRunningMode(RunningMode.LIVE_STREAM) }
        refused { setResultListener { } }
        refused { setRunningMode(RunningMode.VIDEO).setErrorListener { } }
    }

    /** Both networks: each run waits for a permit of the gate, and the threads that it is used on are kept. */
    private class Gated : NetworkLoader {
        val gate = Semaphore(0)
        val loaded = CopyOnWriteArrayList<String>()
        val threads = CopyOnWriteArrayList<Thread>()
        val seen = CopyOnWriteArrayList<ByteArray>()
        private val begun = Semaphore(0)

        @Volatile
        var score = 1f

        @Volatile
        var studentLogits = floatArrayOf(2f, 1f, 0f)

        @Volatile
        var teacherLogits = FloatArray(5)

        @Volatile
        var isClosed = false

        fun awaitRun() = begun.acquire()

        override fun load(file: NetworkFile): Network {
            loaded += file.name
            threads += Thread.currentThread()
            return object : Network {
                override fun run(image: ByteBuffer): List<FloatArray> {
                    threads += Thread.currentThread()
                    if (file.name == "teacher.tflite") return listOf(teacherLogits)
                    begun.release()
                    gate.acquire()
                    seen += ByteArray(image.remaining()).also { image.get(it) }
                    return Saying.student(studentLogits, score)
                }

                override fun close() {
                    threads += Thread.currentThread()
                    isClosed = true
                }
            }
        }
    }
}
