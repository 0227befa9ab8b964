"""Algorithms that minimise: L-BFGS, which sees value and gradient; stochastic descent on mini-batches, made of rules and schedules."""

from softgrad.solvers.lbfgs import LBFGS
from softgrad.solvers.rules import AbstractRule, Adam, Momentum, Nesterov
from softgrad.solvers.schedules import AbstractSchedule, Constant, Cosine, Geometric, Linear
from softgrad.solvers.sgd import SGD

__all__ = ["LBFGS", "SGD", "AbstractRule", "AbstractSchedule", "Adam", "Constant", "Cosine", "Geometric", "Linear", "Momentum", "Nesterov"]
