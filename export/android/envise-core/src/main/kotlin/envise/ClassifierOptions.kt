package envise

/** How an [ImageClassifier] is given its pictures. */
public enum class RunningMode {
    /** Photographs that have nothing to do with one another: [ImageClassifier.classify]. */
    IMAGE,

    /** The frames of a film, one after the other and none left out: [ImageClassifier.classifyForVideo]. */
    VIDEO,

    /** The frames of a camera, as many as can be answered: [ImageClassifier.classifyAsync]. */
    LIVE_STREAM,
}

/** Is told the answers of a live stream. */
public fun interface ResultListener {
    /** Is called on the classifier's own thread, which answers no other frame until it returns. */
    public fun onResult(classification: Classification)
}

/** Is told what went wrong in a live stream; without one, it goes to the thread's handler of uncaught exceptions. */
public fun interface ErrorListener {
    /**
     * Is called on the classifier's own thread. The stream goes on with the next frame.
     *
     * @param failure an [EnviseException], or what an interpreter or the result listener has thrown.
     */
    public fun onError(failure: Exception)
}

/**
 * How an [ImageClassifier] answers, in the habits of MediaPipe's `ImageClassifierOptions`.
 *
 * The three filters [maxResults], [scoreThreshold] and the lists leave classes out of [Classification.categories]. They
 * change neither who answers nor [Classification.answer], and they save no work: whether the student's answer is good
 * enough is decided by its outlier score and the thresholds of the bundle alone.
 *
 * @property runningMode [RunningMode.IMAGE] unless it was set.
 * @property isBuiltin whether the student of stock operators answers, for apps without Larq Compute Engine; not unless
 *     it was set.
 * @property maxResults most categories of a classification; no limit unless it was set.
 * @property scoreThreshold smallest probability of a category, of the network that answered, 0..1; 0 unless it was set.
 *     Not to be confused with the bundle's thresholds, which are compared with the student's outlier score.
 * @property categoryAllowlist names of the classes that may be categories; empty allows all.
 * @property categoryDenylist names of the classes that may not.
 * @property observation how the stream's prior is estimated on the device; null, as unless it was set, keeps the
 *     bundle's.
 * @property limit of the images that are left to the teacher; null, as unless it was set, is none.
 * @property resultListener of a live stream, null in other modes.
 * @property errorListener of a live stream.
 */
public class ClassifierOptions private constructor(builder: Builder) {
    public val runningMode: RunningMode = builder.runningMode
    public val isBuiltin: Boolean = builder.isBuiltin
    public val maxResults: Int = builder.maxResults
    public val scoreThreshold: Float = builder.scoreThreshold
    public val categoryAllowlist: Set<String> = builder.categoryAllowlist
    public val categoryDenylist: Set<String> = builder.categoryDenylist
    public val observation: ObservationOptions? = builder.observation
    public val limit: DeferralLimit? = builder.limit
    public val resultListener: ResultListener? = builder.resultListener
    public val errorListener: ErrorListener? = builder.errorListener

    /** Sets options one by one; see the properties of [ClassifierOptions]. */
    public class Builder internal constructor() {
        internal var runningMode = RunningMode.IMAGE
        internal var isBuiltin = false
        internal var maxResults = Int.MAX_VALUE
        internal var scoreThreshold = 0f
        internal var categoryAllowlist = emptySet<String>()
        internal var categoryDenylist = emptySet<String>()
        internal var observation: ObservationOptions? = null
        internal var limit: DeferralLimit? = null
        internal var resultListener: ResultListener? = null
        internal var errorListener: ErrorListener? = null

        /** Sets [ClassifierOptions.runningMode]. */
        public fun setRunningMode(mode: RunningMode): Builder = apply { runningMode = mode }

        /** Sets [ClassifierOptions.isBuiltin]. */
        public fun setBuiltin(isBuiltin: Boolean): Builder = apply { this.isBuiltin = isBuiltin }

        /**
         * Sets [ClassifierOptions.maxResults].
         *
         * @throws IllegalArgumentException [most] is less than 1.
         */
        public fun setMaxResults(most: Int): Builder = apply {
            require(most > 0) { "$most results at most: expected 1 or more; leave it out for all" }
            maxResults = most
        }

        /**
         * Sets [ClassifierOptions.scoreThreshold].
         *
         * @throws IllegalArgumentException [least] is not in 0..1.
         */
        public fun setScoreThreshold(least: Float): Builder = apply {
            require(least in 0f..1f) { "a score threshold of $least: expected a probability, 0 to 1" }
            scoreThreshold = least
        }

        /** Sets [ClassifierOptions.categoryAllowlist]. */
        public fun setCategoryAllowlist(names: Collection<String>): Builder = apply { categoryAllowlist = names.toSet() }

        /** Sets [ClassifierOptions.categoryDenylist]. */
        public fun setCategoryDenylist(names: Collection<String>): Builder = apply { categoryDenylist = names.toSet() }

        /** Sets [ClassifierOptions.observation]. */
        public fun setObservation(options: ObservationOptions): Builder = apply { observation = options }

        /** Sets [ClassifierOptions.limit]. */
        public fun setLimit(limit: DeferralLimit): Builder = apply { this.limit = limit }

        /** Sets [ClassifierOptions.resultListener]. */
        public fun setResultListener(listener: ResultListener): Builder = apply { resultListener = listener }

        /** Sets [ClassifierOptions.errorListener]. */
        public fun setErrorListener(listener: ErrorListener): Builder = apply { errorListener = listener }

        /**
         * Returns the options.
         *
         * @throws IllegalArgumentException both lists are set; or a live stream has no result listener, or another mode
         *     has a listener.
         */
        public fun build(): ClassifierOptions {
            require(categoryAllowlist.isEmpty() || categoryDenylist.isEmpty()) {
                "an allowlist and a denylist are set: expected one of them at most"
            }
            if (runningMode == RunningMode.LIVE_STREAM) {
                requireNotNull(resultListener) { "a live stream without a result listener: set one, its answers go nowhere else" }
            } else {
                require(resultListener == null && errorListener == null) {
                    "a listener in mode $runningMode: expected none, its answers are returned and its errors thrown"
                }
            }
            return ClassifierOptions(this)
        }
    }

    public companion object {
        /** Returns a builder with nothing set. */
        @JvmStatic
        public fun builder(): Builder = Builder()
    }
}
