package envise.android

import android.content.res.AssetManager
import envise.BundleFiles
import java.io.FileInputStream
import java.io.FileNotFoundException
import java.io.InputStream
import java.nio.ByteBuffer
import java.nio.channels.FileChannel

/**
 * The files of a bundle in an app's assets.
 *
 * What the app's package does not compress is mapped into memory, of which the system takes back what is not in use; so say
 * `noCompress += "tflite"` in the build. Compressed networks work too, but are copied.
 *
 * @param assets of a context.
 * @param folder of the bundle, such as `zoo` for `src/main/assets/zoo/manifest.json`.
 */
public class AssetFiles(private val assets: AssetManager, private val folder: String) : BundleFiles {
    override fun open(name: String): InputStream = assets.open("$folder/$name")

    override fun map(name: String): ByteBuffer? {
        val asset = try {
            assets.openFd("$folder/$name")
        } catch (_: FileNotFoundException) {
            return null // compressed, or missing, as open() will tell
        }
        return asset.use {
            FileInputStream(it.fileDescriptor).channel.map(FileChannel.MapMode.READ_ONLY, it.startOffset, it.declaredLength)
        }
    }
}
