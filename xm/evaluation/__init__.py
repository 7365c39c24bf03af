"""Measures of retrieval quality: queries and judgements in, runs and numbers out.

Leaves out: charts, and the data sets themselves.
"""

from xm.evaluation.compare import evaluate_index, evaluate_queries, evaluate_searcher
from xm.evaluation.lines import result_lines
from xm.evaluation.measures import find_measure, mean_scores, score_run
from xm.evaluation.trec import Qrels, Query, Run, read_qrels, read_queries, read_run, write_run

__all__ = [
    "Qrels",
    "Query",
    "Run",
    "evaluate_index",
    "evaluate_queries",
    "evaluate_searcher",
    "find_measure",
    "mean_scores",
    "read_qrels",
    "read_queries",
    "read_run",
    "result_lines",
    "score_run",
    "write_run",
]
