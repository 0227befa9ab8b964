"""
What a penalty does to probabilities
====================================

A penalty makes scores smaller, and smaller scores are flatter probabilities. The winner stays, its lead shrinks.
"""

import softgrad

picture = softgrad.pictures.regularisation()
