package envise

import java.util.Random

/**
 * How a device estimates its stream's prior; see [Observation].
 *
 * @property auditShare chance of an image that the student would answer to be answered by the teacher instead, above 0,
 *     at most 1. Each costs the teacher's time.
 * @property window number of the latest images before the teacher that count, at least 100. It takes 4 bytes for each
 *     image and class, and each image before the teacher costs up to ten steps of EM through all of it.
 * @property state what [Observation.state] returned for this bundle, to go on after a restart; null begins anew.
 * @property random draws the audits.
 * @throws IllegalArgumentException a number is out of its range.
 */
public class ObservationOptions @JvmOverloads constructor(
    public val auditShare: Double = 0.05,
    public val window: Int = 1000,
    public val state: String? = null,
    public val random: Random = Random(),
) {
    init {
        require(auditShare > 0 && auditShare <= 1) {
            "an audit share of $auditShare: expected more than 0 and at most 1; deferred images alone would give a wrong prior"
        }
        require(window >= FEWEST_IMAGES) { "a window of $window images: expected at least $FEWEST_IMAGES" }
    }

    private companion object {
        /** Fewer say next to nothing of the shares of some dozens of classes; the same in Python. */
        const val FEWEST_IMAGES = 100
    }
}
