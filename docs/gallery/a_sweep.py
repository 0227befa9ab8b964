"""
How strong a penalty
====================

A weak penalty fits the training rows ever better; the rows held out say where to stop. All strengths ran on all folds in shared passes.
"""

import softgrad
from softgrad.report.folds import fold_accuracies
from softgrad.report.pictures import strengths

data = softgrad.data.load("digits")
folds = [(range(700), range(700, 1400)), (range(700, 1400), range(700))]
search = softgrad.SoftmaxClassifierCV(Cs=[1e-5, 1e-4, 1e-3, 1e-2, 1e-1], cv=folds).fit(data.X, data.y)
train, held_out = fold_accuracies(data.X, data.y, search.classes_, search.coefs_paths_, folds)
picture = strengths(search.Cs_, -search.scores_, held_out, train, chosen=search.C_)
