package envise

import java.util.concurrent.Callable
import java.util.concurrent.ExecutionException
import java.util.concurrent.Executors
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicReference

/**
 * A thread that works on one frame at a time; one more waits, and a newer one takes its place.
 *
 * @param work is called on the thread, and throws nothing.
 */
internal class FrameThread<F : Any>(private val work: (F) -> Unit) {
    @Volatile
    private var thread: Thread? = null
    private val waiting = AtomicReference<F?>()
    private val executor = Executors.newSingleThreadExecutor { task ->
        Thread(task, "envise").apply { isDaemon = true }.also { thread = it }
    }

    /** Returns what [make] returns on the thread, or throws what it throws there. */
    fun <T> call(make: () -> T): T {
        if (Thread.currentThread() === thread) return make()
        try {
            return executor.submit(Callable { make() }).get()
        } catch (failure: ExecutionException) {
            throw failure.cause ?: failure
        }
    }

    /** Returns whether the frame took the place of one that had waited. */
    fun offer(frame: F): Boolean {
        val isReplacing = waiting.getAndSet(frame) != null
        // The task of the frame that was replaced is still to come and takes this one.
        if (!isReplacing) executor.execute { waiting.getAndSet(null)?.let(work) }
        return isReplacing
    }

    /** Returns whether there was a frame that waited, which is forgotten. */
    fun cancel(): Boolean = waiting.getAndSet(null) != null

    /** Ends the thread after the frame that it works on and a [last] task. */
    fun end(last: () -> Unit) {
        executor.execute(last)
        executor.shutdown()
    }

    /** Waits for the thread's end, unless this is the thread. */
    fun join() {
        if (Thread.currentThread() === thread) return
        var isInterrupted = false
        while (true) {
            try {
                if (executor.awaitTermination(Long.MAX_VALUE, TimeUnit.NANOSECONDS)) break
            } catch (_: InterruptedException) {
                isInterrupted = true // it has to be waited for all the same: the interpreters are in use
            }
        }
        if (isInterrupted) Thread.currentThread().interrupt()
    }
}
