"""Minimise an objective that is seen as value and gradient; know no rows."""
