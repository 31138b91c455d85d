"""Test vectors for the Kotlin library: cases with the answers that Python gives today.

    PYTHONPATH=tests/export python -m android_vectors      # writes them anew

Kotlin's tests must satisfy all of them; tests/export/test_android.py asks whether they are still what Python says.
Numbers that JSON has no word for are the texts NaN, Infinity and -Infinity; float32 are written as exact doubles.
"""

from android_vectors.bundles import bundles
from android_vectors.decisions import decisions
from android_vectors.observations import observations
from android_vectors.pictures import photographs, pictures

VECTORS = {
    "pictures.json": pictures,
    "photographs.json": photographs,
    "decisions.json": decisions,
    "observations.json": observations,
    "bundles.json": bundles,
}
"""What makes each file of vectors."""
