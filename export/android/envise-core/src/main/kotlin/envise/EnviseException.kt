package envise

/**
 * What can go wrong with a bundle or an image; each message is one sentence that says what was found and what to do.
 *
 * Unchecked, so that Java may catch it where it wants to. Misuse of the API, such as a closed cascade, is an [IllegalStateException] or [IllegalArgumentException] instead.
 */
public sealed class EnviseException(message: String, cause: Throwable? = null) : RuntimeException(message, cause)

/** A file of the bundle is missing or cannot be read. */
public class UnreadableFile(file: String, reason: String, cause: Throwable? = null) :
    EnviseException("cannot read $file ($reason): expected a file of the bundle; $AGAIN", cause)

/** The manifest is no JSON. */
public class NotJson(reason: String) : EnviseException("$MANIFEST is not JSON ($reason): expected a manifest; $AGAIN")

/** The manifest is of a schema version that this library does not read. */
public class UnknownSchemaVersion(found: String) :
    EnviseException("$MANIFEST has schema version $found, expected 1 or 2: export the bundle again, or update this library")

/** The manifest breaks its schema at [place], such as `student.threshold.values[3]`. */
public class BrokenSchema(public val place: String, reason: String) :
    EnviseException("$MANIFEST breaks the schema at ${place.ifEmpty { "its top" }}: $reason; $AGAIN")

/** Parts of the manifest do not fit together. */
public class Misfit(reason: String) : EnviseException("$MANIFEST: $reason; $AGAIN")

/** The manifest is not the one that its checksum vouches for. */
public class UnvouchedManifest : EnviseException(
    "$MANIFEST is not what $CHECKSUM vouches for: expected the manifest as it was written; $AGAIN",
)

/** Size or SHA-256 of a file differ from the manifest's. */
public class DamagedFile(file: String, found: String, expected: String) : EnviseException(
    "$file has $found, expected $expected: it is not the file that the manifest describes; $AGAIN",
)

/** The labels are not the class names of the manifest. */
public class WrongLabels(found: Int, expected: Int) : EnviseException(
    "$LABELS has $found labels, expected the $expected class names of $MANIFEST, one a line; $AGAIN",
)

/** The bundle has no such network. */
public class NoSuchNetwork(which: String, there: Collection<String>) : EnviseException(
    "the bundle has no $which, only ${there.joinToString()}: a bundle of a twin alone has only the built-in student",
)

/** The golden file is no archive of the arrays that are expected. */
public class WrongGolden(reason: String, cause: Throwable? = null) :
    EnviseException("$GOLDEN is no golden file ($reason): export the bundle again", cause)

/** This device answers a golden image otherwise than the computer that wrote the bundle. */
public class GoldenMismatch(image: Int, found: String, expected: String) : EnviseException(
    "golden image $image: $found, expected $expected; answer nothing on this device and report its model",
)

/** An image has another size than the networks take. */
public class WrongImage(found: String, expected: String) :
    EnviseException("an image of $found given: expected $expected")

/** The interpreter takes no such network, or none can be made; the cause is what it said. */
public class RefusedNetwork(file: String, cause: Throwable) : EnviseException(
    "the interpreter refuses $file (${cause.message?.lines()?.firstOrNull { it.isNotBlank() } ?: "without a reason"}): " +
        "expected a network that runs on this version; export the bundle again",
    cause,
)

/** A binary student is asked of a library of TensorFlow Lite that lacks its operators. */
public class WrongLibrary(file: String) : EnviseException(
    "$file is for Larq Compute Engine, which this app does not have: expected its AAR, or the student of stock operators (builtin)",
)

/** A network gives something else than the manifest says. */
public class WrongNetwork(file: String, found: String, expected: String) :
    EnviseException("$file gives $found, by the manifest expected $expected: export the bundle again")

/** The teacher's logits are no numbers, so that there is no answer. */
public class NotNumbers(file: String) :
    EnviseException("$file gave logits that are not numbers: look for the image with python -m envise_tf.export.verify")

/** The bundle's teacher is not adapted, so that its answers say nothing sure of the stream's prior. */
public class RawTeacher(bundle: String) :
    EnviseException("the bundle $bundle has a raw teacher: expected an adaptation; train with --adapt true and export again")

/** The state of an observation is damaged, or is that of another teacher. */
public class WrongState :
    EnviseException("the state of an observation is damaged, or that of another teacher: leave it out to begin anew")

/** The options name a class that the bundle does not have. */
public class UnknownCategory(name: String) :
    EnviseException("a list of categories has $name, which is no class of the bundle: look for its name in $LABELS")

internal const val MANIFEST = "manifest.json"
internal const val CHECKSUM = "manifest.sha256"
internal const val LABELS = "labels.txt"
internal const val GOLDEN = "golden.npz"
private const val AGAIN = "export the bundle again, or copy it again if it was copied"
