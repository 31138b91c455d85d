package envise.sample

import android.Manifest
import android.content.pm.PackageManager
import android.os.Bundle
import android.os.SystemClock
import androidx.camera.core.CameraSelector
import androidx.camera.core.ImageAnalysis
import androidx.camera.core.ImageProxy
import androidx.camera.core.Preview
import androidx.camera.lifecycle.ProcessCameraProvider
import androidx.camera.view.PreviewView
import androidx.core.content.ContextCompat
import androidx.lifecycle.Lifecycle
import androidx.lifecycle.LifecycleOwner
import androidx.lifecycle.LifecycleRegistry
import envise.ImageClassifier
import envise.Orientation
import envise.android.Plane
import envise.android.yuvPicture
import java.util.concurrent.ExecutorService
import java.util.concurrent.Executors
import java.util.concurrent.TimeUnit

/** The frames of CameraX. The one file of the sample app that Maven does not compile: CameraX is on Google's Maven alone. */
class CameraActivity : AnsweringActivity(), LifecycleOwner {
    override val lifecycle: LifecycleRegistry = LifecycleRegistry(this)
    private val frames: ExecutorService = Executors.newSingleThreadExecutor()
    private var classifier: ImageClassifier? = null

    override fun startCamera(classifier: ImageClassifier) {
        this.classifier = classifier
        if (checkSelfPermission(Manifest.permission.CAMERA) == PackageManager.PERMISSION_GRANTED) {
            bind(classifier)
        } else {
            requestPermissions(arrayOf(Manifest.permission.CAMERA), 0)
        }
    }

    override fun onRequestPermissionsResult(requestCode: Int, permissions: Array<String>, grantResults: IntArray) {
        if (grantResults.firstOrNull() == PackageManager.PERMISSION_GRANTED) classifier?.let { bind(it) } else finish()
    }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        lifecycle.currentState = Lifecycle.State.CREATED
    }

    override fun onStart() {
        super.onStart()
        lifecycle.currentState = Lifecycle.State.STARTED
    }

    override fun onStop() {
        lifecycle.currentState = Lifecycle.State.CREATED
        super.onStop()
    }

    override fun stopCamera() {
        lifecycle.currentState = Lifecycle.State.DESTROYED
        frames.shutdown()
        frames.awaitTermination(1, TimeUnit.SECONDS)
    }

    private fun bind(classifier: ImageClassifier) {
        val shown = PreviewView(this).also { preview.addView(it) }
        val provider = ProcessCameraProvider.getInstance(this)
        val bound = Runnable {
            val toScreen = Preview.Builder().build().apply { surfaceProvider = shown.surfaceProvider }
            val toClassifier = ImageAnalysis.Builder().setBackpressureStrategy(ImageAnalysis.STRATEGY_KEEP_ONLY_LATEST).build()
            toClassifier.setAnalyzer(frames) { frame -> frame.use { classify(it, classifier) } }
            provider.get().bindToLifecycle(this, CameraSelector.DEFAULT_BACK_CAMERA, toScreen, toClassifier)
        }
        provider.addListener(bound, ContextCompat.getMainExecutor(this))
    }

    private fun classify(frame: ImageProxy, classifier: ImageClassifier) {
        val planes = frame.planes.map { Plane(it.buffer, it.rowStride, it.pixelStride) }
        val orientation = Orientation.ofDegrees(frame.imageInfo.rotationDegrees)
        classifier.classifyAsync(yuvPicture(planes, frame.width, frame.height, orientation), SystemClock.uptimeMillis())
    }
}
