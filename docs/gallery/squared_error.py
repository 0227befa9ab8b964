"""
Squared error and cross-entropy
===============================

A logistic output that is sure and wrong. Cross-entropy pulls it back at once; the squared error's gradient has vanished just there.
"""

import softgrad

picture = softgrad.pictures.squared_error_against_cross_entropy()
