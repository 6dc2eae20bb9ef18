"""Random graphs of operators that onnx's strict shape inference accepts: a seed gives a graph.

A graph starts with a few inputs, some of their sizes symbols. Each step proposes a node on values that are there; the
node stays when onnx infers the whole graph without an error.
"""

# The order counts: what a seed gives is drawn by position.
from random_graphs import elementwise, layout, sizes, indices, sums, regions  # noqa: F401, I001
from random_graphs.builder import build
from random_graphs.runs import Run, feeds, run, shown, subgraphs

__all__ = ["Run", "build", "feeds", "run", "shown", "subgraphs"]
