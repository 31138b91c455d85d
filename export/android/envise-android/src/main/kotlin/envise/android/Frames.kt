@file:JvmName("Frames")

package envise.android

import android.media.Image
import envise.Nv21Picture
import envise.Orientation
import envise.Picture
import envise.RgbaPicture
import envise.WrongImage
import java.nio.ByteBuffer

/**
 * A plane of a camera's frame, as `Image.Plane` and CameraX's `ImageProxy.PlaneProxy` have it.
 *
 * @property buffer from its start on.
 * @property rowStride bytes from one row to the next.
 * @property pixelStride bytes from one pixel of a row to the next.
 */
public class Plane(public val buffer: ByteBuffer, public val rowStride: Int, public val pixelStride: Int)

/**
 * Returns a copy of a frame of `YUV_420_888` as a picture; the frame may be closed afterwards.
 *
 * @param planes Y, U and V, as the camera hands them out.
 * @param width of the frame as it is stored, in pixels.
 * @param height of it.
 * @param orientation how the frame lies, of `ImageProxy.imageInfo.rotationDegrees` by [Orientation.ofDegrees].
 * @throws WrongImage there are not three planes, or one has too few bytes.
 */
@JvmOverloads
public fun yuvPicture(planes: List<Plane>, width: Int, height: Int, orientation: Orientation = Orientation.UPRIGHT): Picture {
    if (planes.size != 3) throw WrongImage("${planes.size} planes", "3: Y, U and V")
    val (y, u, v) = planes
    val (columns, rows) = Pair((width + 1) / 2, (height + 1) / 2)
    val nv21 = ByteArray(width * height + 2 * columns * rows)
    y.copy(width, height, nv21, 0, 1)
    v.copy(columns, rows, nv21, width * height, 2)
    u.copy(columns, rows, nv21, width * height + 1, 2)
    return Nv21Picture(nv21, width, height, orientation)
}

/**
 * Returns a copy of a frame of `RGBA_8888`, one plane, as a picture; the frame may be closed afterwards.
 *
 * @throws WrongImage the plane has too few bytes.
 */
@JvmOverloads
public fun rgbaPicture(plane: Plane, width: Int, height: Int, orientation: Orientation = Orientation.UPRIGHT): Picture {
    val pixels = ByteArray(plane.buffer.capacity())
    plane.buffer.fromStart().get(pixels)
    return RgbaPicture(pixels, width, height, orientation, plane.rowStride)
}

/** Returns a copy of a frame of `YUV_420_888` of Camera2 as a picture; the frame may be closed afterwards. */
@JvmOverloads
public fun Image.toPicture(orientation: Orientation = Orientation.UPRIGHT): Picture =
    yuvPicture(planes.map { Plane(it.buffer, it.rowStride, it.pixelStride) }, width, height, orientation)

/** Writes [columns] times [rows] bytes of a plane to [into], from [at] on, [step] bytes apart. */
private fun Plane.copy(columns: Int, rows: Int, into: ByteArray, at: Int, step: Int) {
    val used = (columns - 1) * pixelStride + 1
    val least = (rows - 1) * rowStride + used // the last row may end with its last pixel
    if (buffer.capacity() < least) throw WrongImage("a plane of ${buffer.capacity()} bytes", "at least $least")
    val source = buffer.fromStart()
    val line = ByteArray(used)
    var to = at
    for (row in 0 until rows) {
        source.position(row * rowStride)
        source.get(line)
        for (x in 0 until columns) {
            into[to] = line[x * pixelStride]
            to += step
        }
    }
}

private fun ByteBuffer.fromStart() = duplicate().apply { clear() }
