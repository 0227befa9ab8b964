"""
Decision regions
================

A linear classifier cuts the plane by straight lines; the deeper the colour, the surer it is.
Petals of three kinds of iris, by their length and width.
"""

from sklearn.datasets import load_iris

import softgrad

X, y = load_iris(return_X_y=True)
petals = X[:, 2:]
model = softgrad.SoftmaxClassifier(C=10.0).fit(petals, y)
picture = softgrad.pictures.decision_regions(model, petals, y, features=("petal length (cm)", "petal width (cm)"))
