"""
How strong a penalty
====================

A weak penalty fits the training rows ever better; the rows held out say where to stop. All strengths ran on all folds in shared passes.
"""

import numpy as np

import softgrad
from softgrad.report.folds import fold_accuracies
from softgrad.report.pictures import strengths

data = softgrad.data.load("digits")
rows = np.arange(1400)
folds = [(rows[:700], rows[700:]), (rows[700:], rows[:700])]
search = softgrad.SoftmaxClassifierCV(Cs=[1e-5, 1e-4, 1e-3, 1e-2, 1e-1], cv=folds).fit(data.X, data.y)
train, held_out = fold_accuracies(data.X, data.y, search.classes_, search.coefs_paths_, folds)
picture = strengths(search.Cs_.tolist(), -search.scores_, held_out, train, chosen=search.C_)
