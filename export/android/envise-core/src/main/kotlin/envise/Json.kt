package envise

import com.google.gson.JsonElement
import com.google.gson.JsonParseException
import com.google.gson.JsonParser
import com.google.gson.JsonPrimitive
import com.google.gson.Strictness
import com.google.gson.stream.JsonReader
import com.google.gson.stream.JsonToken
import java.io.IOException
import java.io.StringReader
import java.nio.ByteBuffer

/**
 * Returns the value that a JSON text in UTF-8 holds, by RFC 8259 to the letter.
 *
 * @throws NotJson it is no such text.
 */
internal fun json(content: ByteArray): JsonElement =
    try {
        val text = Charsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(content)).toString()
        // Gson skips a byte order mark, which RFC 8259 forbids.
        if (text.startsWith('\uFEFF')) throw NotJson("it begins with a byte order mark")
        val reader = JsonReader(StringReader(text)).apply { strictness = Strictness.STRICT }
        reader.peek() // throws where there is nothing, which the parser would take for null
        JsonParser.parseReader(reader).also {
            if (reader.peek() != JsonToken.END_DOCUMENT) throw NotJson("more follows after its end")
        }
    } catch (failure: IOException) {
        throw NotJson(failure.oneLine())
    } catch (failure: JsonParseException) {
        throw NotJson(failure.oneLine())
    }

/** The integer that is written here without a point or an exponent; null where something else is. */
internal val JsonElement?.integerOrNull: Int?
    get() = (this as? JsonPrimitive)?.takeIf { it.isNumber }?.asString?.toBigIntegerOrNull()?.toDouble()?.toInt()

internal fun JsonElement?.textOrNull(): String? = (this as? JsonPrimitive)?.takeIf { it.isString }?.asString

internal fun JsonElement?.numberOrNull(): Double? = (this as? JsonPrimitive)?.takeIf { it.isNumber }?.asDouble

private fun Throwable.oneLine() = message.orEmpty().lineSequence().first()
