"""
Softmax and hinge
=================

The scores (10, -10, -10) and (10, 9, 9), the first class true: the hinge is content with both.
Softmax still tells them apart.
"""

import softgrad

picture = softgrad.pictures.softmax_against_hinge()
