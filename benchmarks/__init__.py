"""One script a claim: each measures, prints its table, and writes benchmarks/results/NAME.json.

`python benchmarks/NAME.py [--quick]` runs one; `make bench` runs the quick set. The frame:
`results` (the document and its table), `machine` (what it was measured on), `paired` (A B A B and
the ratio's interval), `process` (CPU seconds and peak memory of a command).
"""
