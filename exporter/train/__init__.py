"""Training: the fit loop and the evaluation that goes with it."""

from exporter.train.fit import FitSettings, evaluate, fit

__all__ = ["FitSettings", "evaluate", "fit"]
