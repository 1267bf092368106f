"""One instruction executed in many states at a time: the cheapest way to compare engines with the host CPU.

A *variant* is an instruction form in one encoding (encode.py), a *batch* a variant with a table of start states that
do not fault (batch.py, rules.py), and its *program* a case like any other: a loop that loads a record of the table,
executes the instruction once and stores the whole state back into the record (program.py).  Native processor and
engines run the same bytes, and the tables are compared (compare.py).  `python -m tests.oracles.bulk` prints figures.
"""
