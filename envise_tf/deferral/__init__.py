"""Who answers an image: outlier scores, the rules of a threshold, the cascade.

Nothing here is imported with the package: the mobile runtime takes the cascade's rule from here without TensorFlow.
"""
