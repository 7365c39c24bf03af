"""`xm train ...`: from arguments to the recipes of xm.train.recipes, and their reports to the command line."""

import argparse
from pathlib import Path

from xm.commands import Report
from xm.encoder.adapters import write_adapter
from xm.encoder.exchange import merge_adapter
from xm.errors import TrainingError
from xm.languages import find_code
from xm.train import recipes
from xm.train.add_language import add_language
from xm.train.arguments import add_files, add_json, add_run, options_of, report_of, whole
from xm.train.data import ParallelPair, language_files, read_parallel
from xm.train.device import DEVICES
from xm.train.material import AddOptions
from xm.train.pretrain import PretrainOptions, cold_start, pretrain, read_size
from xm.train.rank_language import RankOptions, rank_language
from xm.train.retrieval_commands import add_retrieval_stages
from xm.types import LanguageChange

_NO_LIMIT = 10**9  # steps, where a budget of time ends the run


def add_train_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add `train` and its stages to the command line."""
    parser = subparsers.add_parser("train", help="train a small ColBERT-XM")
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")
    warm = stages.add_parser("warm-start", help="an English BERT-style encoder becomes an untrained XMOD checkpoint")
    warm.add_argument("out", type=Path, help="folder for the checkpoint")
    warm.add_argument("--languages", required=True, help="codes, comma separated; en among them")
    warm.add_argument("--later", default="", help="codes that the vocabulary covers too, for adapters added afterwards")
    sizes = recipes.WarmStartOptions
    warm.add_argument("--vocab-size", type=whole, default=sizes.vocab_size)
    warm.add_argument("--layers", type=whole, help="the teacher's first so many layers; without it, all")
    warm.add_argument(
        "--teacher-share", type=float, default=sizes.teacher_share, help="of the vocabulary, the teacher's own pieces"
    )
    warm.add_argument("--reduction", type=whole, default=sizes.reduction, help="hidden width over adapter width")
    warm.add_argument("--seed", type=int, default=sizes.seed)
    add_files(warm, ("texts", "teacher"))
    warm.set_defaults(run=_warm_start)
    _add_pretrain(stages)
    _add_add_language(stages)
    add_retrieval_stages(stages)


def _add_pretrain(stages: argparse._SubParsersAction) -> None:
    """Add masked-language-model pretraining."""
    parser = stages.add_parser("pretrain", help="masked language modelling on plain text, all languages in turn")
    parser.add_argument("out", type=Path, help="folder for the result; an interrupted run there is resumed")
    parser.add_argument("--texts", type=Path, required=True, help="folder with LANG.txt or LANG.txt.xz")
    parser.add_argument("--source", type=Path, help="checkpoint folder to start from, such as a warm start")
    parser.add_argument("--languages", help="codes, comma separated, of a cold start (without --source)")
    parser.add_argument(
        "--config", nargs="+", default=[], metavar="NAME=NUMBER", help="of a cold start: layers, width, heads, ..."
    )
    parser.add_argument("--batch-size", type=whole, default=PretrainOptions.batch_size, help="rows")
    parser.add_argument("--length", type=whole, default=PretrainOptions.length, help="tokens a row")
    parser.add_argument("--masked", type=float, default=PretrainOptions.masked, help="share of masked positions")
    parser.add_argument(
        "--sampling", type=float, default=PretrainOptions.sampling, help="0: languages equally often; 0.3: XLM-R's"
    )
    parser.add_argument("--device", choices=DEVICES, default="auto")
    add_run(parser, steps=10_000, learning_rate=5e-4)
    add_json(parser)
    parser.set_defaults(run=_pretrain)


def _pretrain(args: argparse.Namespace) -> Report:
    options = options_of(args)
    batch = PretrainOptions(args.batch_size, args.length, args.masked, args.sampling)
    if args.source and (args.languages or args.config):
        raise TrainingError("--source brings its own sizes and languages; leave out --languages and --config, or it")
    source = args.source or args.out / "start"
    if not args.source and not (source / "config.json").is_file():
        codes = _codes(args.languages or "")
        if not codes:
            raise TrainingError("give --source, a checkpoint folder, or --languages en,fr,... for a cold start")
        cold_start(language_files(args.texts, codes), source, size=read_size(args.config), seed=args.seed)
    report = pretrain(source, args.out, texts=args.texts, batch=batch, options=options, device=args.device)
    return report_of({"stage": "pretrain", "checkpoint": str(args.out), **report.as_dict()})


def _add_add_language(stages: argparse._SubParsersAction) -> None:
    """Add the training of one more adapter."""
    parser = stages.add_parser("add-language", help="teach a checkpoint one more language from a text file")
    parser.add_argument("code", help="the language's code")
    parser.add_argument("source", type=Path, help="checkpoint folder that the adapter is for")
    parser.add_argument("out", type=Path, help="folder for CODE.safetensors; an interrupted run there is resumed")
    parser.add_argument("--text", type=Path, required=True, help="plain text, a paragraph a line; .txt or .xz")
    parser.add_argument("--minutes", type=float, default=5.0, help="time for all of it, unless --steps is given")
    parser.add_argument("--ranking", action="store_true", help="learn to rank as BM25 does, not masked words")
    parser.add_argument(
        "--parallel",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE.tsv",
        help="with --ranking: also learn from English translations; first line names the languages",
    )
    parser.add_argument("--embeddings", action="store_true", help="also train word embeddings, for this language alone")
    parser.add_argument("--head", type=Path, help="mlm_head.safetensors of `xm train pretrain`")
    parser.add_argument("--batch-size", type=whole, default=AddOptions.batch_size, help="rows, or queries")
    parser.add_argument("--length", type=whole, default=AddOptions.length, help="tokens a row of masked words")
    parser.add_argument("--merge", type=Path, metavar="FOLDER", help="also write a checkpoint with the adapter in it")
    parser.add_argument("--into", type=Path, help="what to merge into: SOURCE, or what was fine-tuned from it")
    parser.add_argument("--share-rows", action="store_true", help="merge the word embeddings too: for all languages")
    parser.add_argument("--picture", type=Path, metavar="FILE.html", help="draw what changed")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    add_run(parser, steps=None, learning_rate=1e-3)
    add_json(parser)
    parser.set_defaults(run=_add_language)


def _add_language(args: argparse.Namespace) -> Report:
    if args.ranking and args.head:
        raise TrainingError("--ranking predicts no masked words: leave --head out")
    if args.parallel and not args.ranking:
        raise TrainingError("--parallel goes with --ranking: masked words are learnt from --text alone")
    if args.merge and args.embeddings and not args.share_rows:
        raise TrainingError("--merge puts word embeddings into the table of all languages: say so with --share-rows")
    seconds = None if args.steps else 60 * args.minutes
    args.steps = args.steps or _NO_LIMIT
    batch = AddOptions(batch_size=args.batch_size, length=args.length, embeddings=args.embeddings, head=args.head)
    code, options = find_code(args.code), options_of(args, max_seconds=seconds)
    given = {"code": code, "text": args.text, "options": options, "device": args.device}
    if args.ranking:
        pairs = [pair for path in args.parallel for pair in _pairs_of(path, code)]
        ranked = RankOptions(args.batch_size, pairs, embeddings=args.embeddings)
        added = rank_language(args.source, args.out, batch=ranked, **given)
    else:
        added = add_language(args.source, args.out, batch=batch, **given)
    path = args.out / f"{code}.safetensors"
    write_adapter(added.adapter, path)
    facts = {"stage": "add-language", "adapter": str(path), **added.as_dict()}
    if args.merge:
        merge_adapter(str(args.into or args.source), path, args.merge, share_rows=args.share_rows)
        facts["checkpoint"] = str(args.merge)
    if args.picture:
        _draw(added.change, args.picture)
        facts["picture"] = str(args.picture)
    return report_of(facts)


def _pairs_of(path: Path, code: str) -> list[ParallelPair]:
    """Read the sentences of one language; none is an error, for the file was named for them."""
    pairs = read_parallel(path, [code])
    if not pairs:
        raise TrainingError(f"{path} has no sentences in {code}: its first line must name that language and en")
    return pairs


def _draw(change: LanguageChange, path: Path) -> None:
    from xm.figures.training import figure

    try:
        figure(change).write_html(path)  # with plotly inside, since nothing is to be fetched
    except OSError as error:
        raise TrainingError(f"{path} cannot be written: {error.strerror}; name another file") from error


def _warm_start(args: argparse.Namespace) -> Report:
    files = recipes.WarmStartFiles(args.texts, tuple(args.parallel), args.teacher)
    options = recipes.WarmStartOptions(
        languages=_codes(args.languages),
        later=_codes(args.later),
        vocab_size=args.vocab_size,
        teacher_share=args.teacher_share,
        n_layers=args.layers,
        reduction=args.reduction,
        seed=args.seed,
    )
    recipes.warm_start(files, args.out, options=options)
    return report_of({"stage": "warm-start", "checkpoint": str(args.out), "languages": list(options.languages)})


def _codes(text: str) -> tuple[str, ...]:
    return tuple(find_code(part.strip()) for part in text.split(",") if part.strip())
