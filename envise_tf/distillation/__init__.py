"""Distilling a frozen teacher into a student: objectives, the distiller, the training loop, replicas."""
