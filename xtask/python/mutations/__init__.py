"""Ways to break a model, each one change.

A mutation takes a model and a random generator, changes the model and returns names of which a finding must hold one;
None where the model has no place for the change. An empty list stands for the model as a whole.
"""

# The order counts: which model meets which mutation is drawn by position.
from mutations import nodes, attributes, values, initializers, nested  # noqa: F401, I001
from mutations.catalog import MUTATIONS

__all__ = ["MUTATIONS"]
