"""`xm search`, `explain`, `why`, `trace`, `compare` and `centroid`: what is asked of an index, and its answer.

Leaves out: building and changing indexes (xm.index_commands), reading the command line (xm.__main__).
"""

from argparse import Namespace
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xm.commands import Report, guess_line, open_named, plain
from xm.errors import XmError
from xm.options import SearchOptions

if TYPE_CHECKING:
    from xm.index.trace import SearchTrace, TokenTrace

_N_SHOWN = 4  # centroids of a query token that a line has room for; --json gives all


def run_search(arguments: Namespace) -> Report:
    """Search an index or a corpus."""
    from xm.index.flat import FlatIndex

    searcher = open_named(arguments)
    options = _options(arguments)
    result = searcher.search(arguments.query, k=arguments.k, language=arguments.language, options=options)
    exactness = "exact" if isinstance(searcher.index, FlatIndex) else "approximate"
    seconds = sum(result.seconds.values())
    lines = [f"query through {guess_line(result.query.language)}, {exactness} scores, {seconds:.3f} s"]
    hits = []
    for hit in result.hits:
        passage = searcher.index.corpus.passages[searcher.index.place_of(hit.passage_id)]
        place = {"rank": hit.rank, "passage_id": hit.passage_id, "score": hit.score, "exact": hit.exact}
        hits.append({**place, "language": passage.language.code, "text": passage.text})
        lines.append(f"{hit.rank:>3}  {hit.score:8.4f}  {passage.language.code}  {plain(hit.passage_id)}")
        lines.append(f"     {plain(passage.text, width=100)}")
    adapter = result.query.language.code
    facts = {"query": arguments.query, "adapter": adapter, "hits": hits, "seconds": result.seconds}
    return Report(facts, tuple(lines))


def run_explain(arguments: Namespace) -> Report:
    """Show where the score of a query and a passage comes from: a line for each query token."""
    searcher = open_named(arguments)
    alignment = searcher.explain(arguments.query, arguments.passage_id, language=arguments.language)
    facts: dict[str, Any] = alignment.to_dict()
    exactness = "exact" if facts["exact"] else "approximate"
    lines = [
        f"query through {guess_line(alignment.query.language)}",
        f"passage {plain(alignment.passage_id)} through {guess_line(alignment.passage.language)}",
    ]
    for row in facts["rows"]:
        token, best_token = plain(row["token"]), plain(row["best_token"])
        lines.append(f"{row['similarity']:8.4f}  {row['kind']:<7}  {token:<16}  {best_token} ({row['best_index']})")
    lines.append(f"{facts['score']:8.4f}  is their sum, the score ({exactness})")
    if arguments.html:
        try:
            Path(arguments.html).write_text(alignment.to_html(), encoding="utf-8")
        except OSError as error:
            raise XmError(f"{arguments.html} cannot be written: {error.strerror}; name another file") from error
        lines.append(f"figure in {arguments.html}")
    return Report(facts, tuple(lines))


def run_why(arguments: Namespace) -> Report:
    """Say why a passage is, or is not, among the hits of a centroid index."""
    searcher = open_named(arguments)
    query = searcher.encode_query(arguments.query, language=arguments.language)
    options = _options(arguments)
    found = searcher.why(query, arguments.passage_id, k=arguments.k, options=options)
    near = found.nearest
    tokens = searcher.index.reconstruct(found.passage_id).tokens
    named = {"query_token": query.tokens[near.query_index], "passage_token": tokens[near.passage_index]}
    facts = {"query": arguments.query, "adapter": query.language.code, **found.to_dict()}
    facts["nearest"] = {**facts["nearest"], **named}
    lines = (
        found.sentence,
        f"Its nearest centroid, {near.centroid_id}, holds {plain(named['passage_token'])} (token {near.passage_index}) "
        f"and is number {near.number:,} for {plain(named['query_token'])} (query token {near.query_index}), "
        f"cosine {near.score:.2f}.",
    )
    return Report(facts, lines)


def run_trace(arguments: Namespace) -> Report:
    """Show what each stage of a search over a centroid index saw."""
    searcher = open_named(arguments)
    query = searcher.encode_query(arguments.query, language=arguments.language)
    found = searcher.trace(query, k=arguments.k, options=_options(arguments))
    facts = {"query": arguments.query, "adapter": query.language.code, **found.to_dict()}
    facts["tokens"] = [
        {"token": token, "kind": kind, **row}
        for token, kind, row in zip(query.tokens, query.kinds, facts["tokens"], strict=True)
    ]
    lines = [
        f"query through {guess_line(query.language)}; {found.n_passages:,} passages, {found.n_centroids:,} centroids",
        "query token       found    new  nearest centroids (cosine, passages in the list)",
        *map(_token_line, query.tokens, found.tokens),
        *_stage_lines(found),
    ]
    return Report(facts, tuple(lines))


def run_compare(arguments: Namespace) -> Report:
    """Compare a query with a passage exactly, by centroids alone and at every number of bits."""
    searcher = open_named(arguments)
    query = searcher.encode_query(arguments.query, language=arguments.language)
    found = searcher.compare_bits(query, arguments.passage_id, k=arguments.k)
    passage = searcher.index.reconstruct(arguments.passage_id)
    texts = {"query": arguments.query, "passage_id": arguments.passage_id, "adapter": query.language.code}
    tokens = {"query_tokens": list(query.tokens), "passage_tokens": list(passage.tokens)}
    facts = {**texts, **tokens, **found.to_dict()}
    lines = [f"{'':<16}" + "".join(f"{row.name:>11}" for row in found.rows)]
    for place, token in enumerate(query.tokens):
        cells = (f"{row.similarities[place]:>10.4f}{'*' if row.changed[place] else ' '}" for row in found.rows)
        lines.append(f"{plain(token, width=16):<16}" + "".join(cells))
    lines.append(f"{'score':<16}" + "".join(f"{row.score:>10.4f} " for row in found.rows))
    lines.append(f"{f'rank of {found.n_passages}':<16}" + "".join(f"{row.rank:>10} " for row in found.rows))
    lines.append("* another passage token wins than exactly")
    return Report(facts, tuple(lines))


def run_centroid(arguments: Namespace) -> Report:
    """Show the tokens that lie at a centroid, in context, language by language."""
    from xm.compression import compressed
    from xm.index.members import centroid_tokens
    from xm.index.store import open_index

    found = centroid_tokens(compressed(open_index(arguments.folder)), arguments.centroid_id, n=arguments.n)
    n_tokens = sum(found.n_tokens.values())
    lines = [f"centroid {found.centroid_id}: {n_tokens:,} tokens" + ("" if n_tokens else ", all lists are empty")]
    for code, members in found.members.items():
        lines.append(f"{code}, {found.n_tokens[code]:,} tokens")
        for member in members:
            context = f"{plain(member.before)}[{plain(member.inside)}]{plain(member.after)}" if member.inside else ""
            lines.append(f"{member.cosine:8.4f}  {plain(member.token):<16}  {plain(member.passage_id)}  {context}")
    return Report(found.to_dict(), tuple(lines))


def _options(arguments: Namespace) -> SearchOptions | None:
    """The search options that are named; None where there are none, as a flat index takes none."""
    named = {field.name: getattr(arguments, field.name) for field in fields(SearchOptions)}
    given = {name: value for name, value in named.items() if value is not None}
    return SearchOptions(**given) if given else None


def _token_line(token: str, traced: "TokenTrace") -> str:
    """One query token: what its lists gave, and the first of its centroids."""
    shown = ", ".join(
        f"{centroid.centroid_id} ({centroid.score:.2f}, {'pruned' if centroid.pruned else f'{centroid.n_listed:,}'})"
        for centroid in traced.centroids[:_N_SHOWN]
    )
    n_more = len(traced.centroids) - _N_SHOWN
    more = f" and {n_more} more" if n_more > 0 else ""
    return f"{plain(token, width=16):<16}  {traced.n_found:>5,}  {traced.n_gained:>5,}  {shown}{more}"


def _stage_lines(found: "SearchTrace") -> list[str]:
    """The stages, then the hits with the scores that each had before: by probed centroids, and by all its centroids."""
    lines = [
        f"{stage.name:<16}  {stage.n_in:>9,} to {stage.n_out:>7,} {stage.unit:<9}  {stage.seconds * 1000:8.2f} ms"
        for stage in found.stages
    ]
    lines.append(f"rank     score  {'by probed (rank)':<19}  {'by centroids (rank)':<19}")
    for hit in found.hits:
        before = f"{hit.approximate:8.4f} ({hit.approximate_rank:,})"
        between = f"{hit.by_centroids:8.4f} ({hit.by_centroids_rank:,})"
        lines.append(f"{hit.rank:>4}  {hit.score:8.4f}  {before:<19}  {between:<19}  {plain(hit.passage_id)}")
    return lines
