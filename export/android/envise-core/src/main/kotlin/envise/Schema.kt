package envise

import com.google.gson.JsonArray
import com.google.gson.JsonElement
import com.google.gson.JsonNull
import com.google.gson.JsonObject
import com.google.gson.JsonPrimitive

/**
 * The part of JSON Schema (draft 2020-12) that the manifest's schema uses.
 *
 * Responsible for whether a value is what [root] describes. A keyword that it does not know is an error of the
 * library, not of the value: nothing that the schema asks for is passed over.
 */
internal class Schema(private val root: JsonObject) {
    /** Throws [BrokenSchema] at the first place of [value] that breaks the schema. */
    fun check(value: JsonElement) = check(value, root, "")

    private fun check(value: JsonElement, schema: JsonObject, place: String) {
        for ((keyword, wanted) in schema.entrySet()) {
            when (value) {
                is JsonObject -> checkObject(value, schema, keyword, wanted, place)
                is JsonArray -> checkArray(value, keyword, wanted, place)
            }
            val isMet = when (keyword) {
                in ANNOTATIONS, in OF_OBJECTS, in OF_ARRAYS -> true
                "\$ref" -> true.also { check(value, referred(wanted.asString), place) }
                "not" -> !isMet(value, wanted.asJsonObject, place)
                "type" -> wanted.alternatives().any { value.isOfType(it.asString) }
                "const" -> value == wanted
                "enum" -> value in wanted.asJsonArray
                "pattern" -> value.textOrNull()?.let { Regex(wanted.asString).containsMatchIn(it) } ?: true
                "minLength" -> value.textOrNull()?.let { it.codePointCount(0, it.length) >= wanted.asInt } ?: true
                "minimum" -> value.numberOrNull()?.let { it >= wanted.asDouble } ?: true
                "maximum" -> value.numberOrNull()?.let { it <= wanted.asDouble } ?: true
                "exclusiveMinimum" -> value.numberOrNull()?.let { it > wanted.asDouble } ?: true
                "exclusiveMaximum" -> value.numberOrNull()?.let { it < wanted.asDouble } ?: true
                else -> error("the manifest's schema has the keyword $keyword, which this library does not know")
            }
            if (!isMet) throw BrokenSchema(place, "${shortened(value)} is not of $keyword ${shortened(wanted)}")
        }
    }

    private fun checkObject(value: JsonObject, schema: JsonObject, keyword: String, wanted: JsonElement, place: String) {
        when (keyword) {
            "required" -> wanted.asJsonArray.map { it.asString }.firstOrNull { !value.has(it) }?.let {
                throw BrokenSchema(place, "$it is missing")
            }
            "properties" -> for ((key, described) in wanted.asJsonObject.entrySet()) {
                value.get(key)?.let { check(it, described.asJsonObject, place / key) }
            }
            "additionalProperties" -> {
                val described = schema.getAsJsonObject("properties")?.keySet().orEmpty()
                for (key in value.keySet() - described) {
                    if (!wanted.isJsonObject) throw BrokenSchema(place, "$key is unknown")
                    check(value.get(key), wanted.asJsonObject, place / key)
                }
            }
            "dependentSchemas" -> for ((key, further) in wanted.asJsonObject.entrySet()) {
                if (value.has(key)) check(value, further.asJsonObject, place)
            }
        }
    }

    private fun checkArray(value: JsonArray, keyword: String, wanted: JsonElement, place: String) {
        when (keyword) {
            "items" -> value.forEachIndexed { index, item -> check(item, wanted.asJsonObject, "$place[$index]") }
            "minItems" -> if (value.size() < wanted.asInt) throw BrokenSchema(place, "expected ${wanted.asInt} items or more")
            "uniqueItems" -> if (value.toSet().size < value.size()) throw BrokenSchema(place, "an item is there twice")
        }
    }

    private fun isMet(value: JsonElement, schema: JsonObject, place: String) =
        try {
            check(value, schema, place)
            true
        } catch (_: BrokenSchema) {
            false
        }

    private fun referred(pointer: String): JsonObject =
        pointer.removePrefix("#/").split('/').fold(root) { inside, key -> inside.getAsJsonObject(key) }

    companion object {
        /** The schema of a manifest, versions 1 and 2: the file by which Python checks too. */
        val OF_MANIFESTS: Schema by lazy {
            val file = checkNotNull(Schema::class.java.getResourceAsStream("manifest.schema.json")) { "no schema in the library" }
            Schema(json(file.use { it.readBytes() }).asJsonObject)
        }

        private val ANNOTATIONS = setOf("\$schema", "\$defs", "title", "description")
        private val OF_OBJECTS = setOf("required", "properties", "additionalProperties", "dependentSchemas")
        private val OF_ARRAYS = setOf("items", "minItems", "uniqueItems")
    }
}

private operator fun String.div(key: String) = if (isEmpty()) key else "$this.$key"

private fun JsonElement.alternatives() = if (isJsonArray) asJsonArray.toList() else listOf(this)

private fun JsonElement.isOfType(type: String) = when (type) {
    "object" -> this is JsonObject
    "array" -> this is JsonArray
    "null" -> this is JsonNull
    "string" -> textOrNull() != null
    "boolean" -> this is JsonPrimitive && isBoolean
    "number" -> numberOrNull() != null
    "integer" -> numberOrNull()?.let { it % 1 == 0.0 } ?: false // 1.0 is one, as in Python
    else -> error("the manifest's schema has the type $type, which this library does not know")
}

private fun shortened(value: JsonElement) = value.toString().let { if (it.length <= 60) it else it.take(57) + "..." }
