"""Writes all vectors anew."""

from android_vectors import VECTORS
from android_vectors.cases import FOLDER, written

if __name__ == "__main__":
    for name, made in VECTORS.items():
        (FOLDER / name).write_text(written(made()))
