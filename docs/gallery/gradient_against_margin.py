"""
Gradients against the margin
============================

How strongly a row pulls. A loss that lets go of rows on the left gives up what is wrong; one that lets go on the right, what is learnt.
"""

import softgrad

picture = softgrad.pictures.gradient_against_margin()
