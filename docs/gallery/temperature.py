"""
Probabilities against temperature
=================================

The scores (1, 2, 3) at temperatures from cold to hot: one class takes all, then all are equal. Their order never changes.
"""

import softgrad

picture = softgrad.pictures.probabilities_against_temperature()
