package envise

/**
 * A [Cascade] in the habits of MediaPipe's ImageClassifier: a running mode, ranked categories, a live stream.
 *
 * Each mode has its own method, and the others throw [IllegalStateException]. Frames are answered each for itself: what
 * a film's last frame showed has no say in the next.
 *
 * In modes [IMAGE][RunningMode.IMAGE] and [VIDEO][RunningMode.VIDEO] any thread may call and waits for the answer; the
 * interpreters are made and used on the threads that call, see [Cascade]. In mode
 * [LIVE_STREAM][RunningMode.LIVE_STREAM] they are made, used and closed on a thread of the classifier's own.
 */
public class ImageClassifier private constructor(
    private val bundle: Bundle,
    private val loader: NetworkLoader,
    private val options: ClassifierOptions,
) : AutoCloseable {
    private class Frame(val image: ByteArray, val timestampMilliseconds: Long)

    private val square = CentralSquare(bundle.manifest.imageSize)
    private val thread = if (options.runningMode == RunningMode.LIVE_STREAM) FrameThread(::answer) else null
    private val cascade = make()
    private var latestTimestamp: Long? = null
    private var droppedFrames = 0

    @Volatile
    private var isClosed = false

    /** What the cascade has done since it was made; see [dropped] for the frames that never came to it. */
    public val statistics: Statistics
        get() = cascade.statistics

    /** Frames of a live stream that a newer one took the place of, or that [cancel] or [close] dropped. */
    @get:Synchronized
    public val dropped: Int
        get() = droppedFrames

    /** Of the stream's prior; null where the options do not ask for one. Keep its state to go on after a restart. */
    public val observation: Observation?
        get() = cascade.observation

    /**
     * Returns what a photograph shows.
     *
     * @throws EnviseException see [Cascade.classify].
     * @throws IllegalStateException the mode is another, or the classifier is closed.
     */
    public fun classify(picture: Picture): Classification {
        checkMode(RunningMode.IMAGE)
        return classification(square.of(picture), null)
    }

    /**
     * Returns what a frame of a film shows.
     *
     * @param timestampMilliseconds more than that of the last frame.
     * @throws EnviseException see [Cascade.classify].
     * @throws IllegalArgumentException the timestamp has not grown.
     * @throws IllegalStateException the mode is another, or the classifier is closed.
     */
    public fun classifyForVideo(picture: Picture, timestampMilliseconds: Long): Classification {
        checkMode(RunningMode.VIDEO)
        synchronized(this) { advance(timestampMilliseconds) }
        return classification(square.of(picture), timestampMilliseconds)
    }

    /**
     * Hands in a frame of a live stream and returns at once; the result listener is told the answer.
     *
     * The newest frame wins, as in MediaPipe: while one is being answered, one waits, and a newer one takes its place.
     * Frames that lose are dropped and counted. The central square is cut before this returns, so the picture's bytes
     * may be used again, and cutting one frame and answering another go side by side.
     *
     * @param timestampMilliseconds more than that of the last frame.
     * @throws IllegalArgumentException the timestamp has not grown.
     * @throws IllegalStateException the mode is another, or the classifier is closed.
     */
    public fun classifyAsync(picture: Picture, timestampMilliseconds: Long) {
        checkMode(RunningMode.LIVE_STREAM)
        val frame = Frame(square.of(picture), timestampMilliseconds)
        synchronized(this) {
            check(!isClosed) { CLOSED }
            advance(timestampMilliseconds)
            if (thread!!.offer(frame)) droppedFrames++
        }
    }

    /** Drops the frame of a live stream that waits, and returns whether there was one; the one being answered goes on. */
    @Synchronized
    public fun cancel(): Boolean = (thread?.cancel() == true).also { if (it) droppedFrames++ }

    /**
     * Answers the bundle's golden images again, see [Golden.check]: do so at the first start after an update.
     *
     * @throws GoldenMismatch this device answers otherwise: answer nothing on it.
     * @throws EnviseException the golden file lacks this student's answers, or the cascade fails.
     */
    public fun checkGolden() {
        check(!isClosed) { CLOSED }
        onThread { bundle.golden().check(cascade) }
    }

    /**
     * Gives the interpreters' memory back. It waits for what is being answered; a frame that waits is dropped, and once
     * this has returned no listener is called. On the classifier's own thread, so in a listener, it does not wait.
     */
    override fun close() {
        synchronized(this) {
            cancel()
            if (!isClosed) thread?.end(cascade::close)
            isClosed = true
        }
        if (thread == null) cascade.close() else thread.join()
    }

    private fun make(): Cascade {
        val listed = options.categoryAllowlist + options.categoryDenylist
        (listed - bundle.manifest.classNames.toSet()).firstOrNull()?.let { throw UnknownCategory(it) }
        return try {
            onThread {
                Cascade(bundle, loader, options.isBuiltin).apply {
                    options.observation?.let(::observe)
                    options.limit?.let(::limit)
                }
            }
        } catch (failure: Throwable) {
            thread?.end { }
            throw failure
        }
    }

    private fun checkMode(mode: RunningMode) {
        check(options.runningMode == mode) { "a picture for mode $mode: the classifier was made for ${options.runningMode}" }
        check(!isClosed) { CLOSED }
    }

    /** Takes the timestamp of a frame for the latest. */
    private fun advance(timestamp: Long) {
        val latest = latestTimestamp
        require(latest == null || timestamp > latest) { "a frame at $timestamp ms after one at $latest ms: expected a later one" }
        latestTimestamp = timestamp
    }

    private fun <T> onThread(work: () -> T): T = if (thread == null) work() else thread.call(work)

    /** Answers a frame of a live stream, on the thread. */
    private fun answer(frame: Frame) {
        try {
            val classification = classification(frame.image, frame.timestampMilliseconds)
            if (!isClosed) options.resultListener!!.onResult(classification)
        } catch (failure: Exception) {
            if (!isClosed) tell(failure)
        }
    }

    private fun tell(failure: Exception) {
        val listener = options.errorListener ?: return leaveUncaught(failure)
        try {
            listener.onError(failure)
        } catch (another: Exception) {
            leaveUncaught(another)
        }
    }

    /** As if it had been thrown on the thread, which stays the interpreters' one. */
    private fun leaveUncaught(failure: Exception) {
        val thread = Thread.currentThread()
        thread.uncaughtExceptionHandler.uncaughtException(thread, failure)
    }

    private fun classification(image: ByteArray, timestampMilliseconds: Long?): Classification {
        val verdict = cascade.verdict(image)
        return Classification(verdict.answer, verdict.categories(bundle.manifest.classNames, options), timestampMilliseconds)
    }

    public companion object {
        private const val CLOSED = "the classifier is closed"

        /**
         * Returns a classifier of a bundle; its student is loaded.
         *
         * @param loader makes an interpreter of a network's file.
         * @throws EnviseException see [Cascade]; or a list names a class that the bundle does not have, or the options
         *     ask for an observation that it does not allow, see [Cascade.observe].
         */
        @JvmStatic
        @JvmOverloads
        public fun create(
            bundle: Bundle,
            loader: NetworkLoader,
            options: ClassifierOptions = ClassifierOptions.builder().build(),
        ): ImageClassifier = ImageClassifier(bundle, loader, options)
    }
}
