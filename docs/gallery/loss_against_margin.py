"""
Losses against the margin
=========================

What a row costs by how far its class is ahead (right) or behind (left). Cross-entropy grows for ever on the left;
losses for labels that may be wrong flatten out, hinges are 0 from a margin on.
"""

import softgrad

picture = softgrad.pictures.loss_against_margin()
