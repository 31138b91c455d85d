"""The stream's prior: the teacher calibrated, the stream's class shares estimated, the teacher adapted to them.

Importing this package loads no TensorFlow; only `adapted_teacher` needs it.
"""
