"""Where images come from: sources, scenarios, and the windows and frames drawn from them.

Nothing here is imported with the package: the mobile runtime decodes photographs from here without TensorFlow.
"""
