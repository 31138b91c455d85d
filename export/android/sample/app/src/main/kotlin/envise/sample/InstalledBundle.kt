package envise.sample

import android.content.Context
import envise.Bundle
import envise.android.AssetFiles
import envise.android.InterpreterLoader

/** Whether the app is built with Larq Compute Engine's library, see build.gradle.kts; it runs the binary student then. */
const val IS_LCE = false

/** Makes the interpreters of the library that the app is built with. */
fun loader(): InterpreterLoader = if (IS_LCE) InterpreterLoader.lce() else InterpreterLoader.stock()

/** Returns the one bundle in the app's assets, once all of its files have been checked; takes a while. */
fun installedBundle(context: Context): Bundle {
    val assets = context.assets
    val folders = assets.list("").orEmpty().map { it.substringBefore('/') } // Robolectric lists what is in them too
    val folder = folders.firstOrNull { "manifest.json" in assets.list(it).orEmpty() }
    checkNotNull(folder) { "no bundle in the assets: run python -m envise_tf.export RUN --android app, then build again" }
    return Bundle.load(AssetFiles(assets, folder))
}
