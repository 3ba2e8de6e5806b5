"""Phase B: from a trained module to a graph whose every value has an int8 scale.

capture → fold → plan → ranges → (QAT) → finish. Each step is a module of this package.
"""
