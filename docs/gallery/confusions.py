"""
Which digit is taken for which
==============================

A row of the matrix is a true digit, a column what it was taken for.
The shade follows the square root of the share, so that rare mistakes show.
"""

import softgrad
from softgrad.report.confusion import confusion
from softgrad.report.pictures import confusion_matrix

data = softgrad.data.load("digits")
model = softgrad.SoftmaxClassifier(C=0.001).fit(data.X, data.y)
table = confusion(data.y_test, model.predict(data.X_test), data.classes)
picture = confusion_matrix(table.counts, table.classes)
