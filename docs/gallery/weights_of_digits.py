"""
What a linear classifier has learned
====================================

Every class has one weight for each pixel, so its weights are an image. Red pixels speak for the class, blue ones against it.
"""

import softgrad
from softgrad.report.pictures import weight_templates

data = softgrad.data.load("digits")
model = softgrad.SoftmaxClassifier(C=0.01).fit(data.X, data.y)
picture = weight_templates(model.coef_, data.classes, data.image)
