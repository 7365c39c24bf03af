"""`xm train finetune|mine|distil|joint`: the stages that teach a checkpoint to retrieve, from arguments to reports."""

import argparse
from pathlib import Path

from xm.commands import Report
from xm.errors import TrainingError
from xm.train import recipes
from xm.train.arguments import add_files, add_json, add_stage, options_of, parallel_pairs, report_of, whole
from xm.train.data import QuestionPair
from xm.train.device import DEVICES
from xm.train.joint import JOINT, RANKING, JointData, JointOptions, train_jointly
from xm.train.mining import mine
from xm.train.negatives import KINDS, NegativeOptions, make_triples
from xm.train.single_vector import POOLINGS
from xm.train.teachers import (
    ScoredQuery,
    cross_encoder,
    read_scores,
    score_triples,
    single_vector_teacher,
    write_scores,
)
from xm.train.triples import read_training

_MINED_SHARE = 0.95  # of the positive's score: Moreira et al. 2024
_TOKEN_RATE, _SCORE_RATE = 5e-4, 2e-5  # learning rates: new embeddings and adapters, weights that know their work


def add_retrieval_stages(stages: argparse._SubParsersAction) -> None:
    """Add finetune, mine, distil and joint."""
    finetune = stages.add_parser("finetune", help="contrastive fine-tuning on English questions")
    add_stage(finetune, steps=600, learning_rate=_SCORE_RATE)
    add_files(finetune, ())
    _add_questions(finetune, required=True)
    _add_negatives(finetune)
    _add_batch(finetune, batch_size=recipes.FinetuneOptions.batch_size)
    finetune.add_argument("--pure", action="store_true", help="English questions only, as in the paper")
    finetune.add_argument("--heads", type=_sizes, default=(), metavar="32,64,128", help="train heads of these dims too")
    finetune.add_argument("--single-vector", choices=POOLINGS, help="train the single-vector twin, pooled like this")
    finetune.add_argument(
        "--temperature", type=float, default=recipes.FinetuneOptions.temperature, help="of the twin's cosines"
    )
    finetune.add_argument(
        "--attend-to-masks", action=argparse.BooleanOptionalAction, help="default: as the checkpoint says"
    )
    finetune.set_defaults(run=_finetune)
    mining = stages.add_parser("mine", help="find hard negatives with a checkpoint, for another round of fine-tuning")
    mining.add_argument("source", type=Path, help="checkpoint folder that ranks the passages")
    mining.add_argument("out", type=Path, help="JSON Lines file for the questions with their negatives")
    mining.add_argument("--seed", type=int, default=42)
    _add_questions(mining, required=True)
    _add_filter(mining)
    add_json(mining)
    mining.set_defaults(run=_mine)
    _add_distil(stages)
    _add_joint(stages)


def _add_distil(stages: argparse._SubParsersAction) -> None:
    """Add distillation from tokens and from scores."""
    distil = stages.add_parser("distil", help="learn from a teacher: its tokens, or its scores of passages")
    add_stage(distil, steps=1_300, learning_rate=None)
    teachers = distil.add_mutually_exclusive_group(required=True)
    teachers.add_argument(
        "--teacher",
        type=Path,
        help="English sentence encoder whose token embeddings are met (with --texts, --parallel)",
    )
    teachers.add_argument("--scores", type=Path, help="JSON Lines (question, passages, scores) or TSV of each score")
    teachers.add_argument("--cross-encoder", type=Path, metavar="FOLDER", help="scores passages (with --questions)")
    teachers.add_argument("--single-vector-teacher", type=Path, metavar="FOLDER", help="scores them by cosine")
    add_files(distil, ("texts",), required=False)
    _add_questions(distil, required=False)
    _add_negatives(distil)
    _add_batch(distil, batch_size=None)
    options = recipes.ScoreOptions
    distil.add_argument("--n-passages", type=whole, default=options.n_passages, help="scored passages a question")
    distil.add_argument("--alpha", type=float, default=options.alpha, help="multiplies the teacher's scores")
    distil.add_argument(
        "--min-max", choices=("none", "student", "both"), default=options.min_max, help="scores brought to [0, 1]"
    )
    distil.set_defaults(run=_distil)


def _add_joint(stages: argparse._SubParsersAction) -> None:
    """Add the stage that takes parallel sentences, inverse cloze and English questions in turn."""
    joint = stages.add_parser("joint", help="parallel sentences, inverse cloze in every language, English questions")
    add_stage(joint, steps=3_000, learning_rate=8e-4)  # these four are xm-mini's (benchmarks/xm_mini/recipe.py)
    joint.set_defaults(warmup=0.03, average=0.998)
    add_files(joint, ("texts", "teacher"))
    _add_questions(joint, required=True)
    _add_negatives(joint)
    options = JointOptions
    joint.add_argument(
        "--shared-rate", type=float, default=options.shared_rate, help="of the learning rate, for shared weights"
    )
    joint.add_argument(
        "--ranking", action="store_true", help="BM25's ranking in place of inverse cloze, as for xm-mini"
    )
    joint.add_argument("--heads", type=_sizes, default=(), metavar="32,64,128", help="train heads of these dims too")
    joint.add_argument("--device", choices=DEVICES, default="auto")
    joint.set_defaults(run=_joint)


def _add_questions(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add where the questions are."""
    parser.add_argument(
        "--questions", required=required, metavar="FILE",
        help="JSON Lines (question, context, negatives), TSV (query, positive, negatives), or hub:NAME",
    )  # fmt: skip
    parser.add_argument("--queries", type=Path, help="TSV of id and text, if the TSV file holds ids")
    parser.add_argument("--collection", type=Path, help="TSV of id and text, the passages of those ids")
    parser.add_argument("--sources", type=_names, metavar="A,B", help="of JSON Lines: rows of these sources alone")


def _add_negatives(parser: argparse.ArgumentParser) -> None:
    """Add where negatives come from, and which are false."""
    parser.add_argument(
        "--negatives", choices=KINDS, help="default: those given, if there are any, else bm25; self: mined with SOURCE"
    )
    parser.add_argument("--n-negatives", type=whole, default=NegativeOptions.n, help="hard negatives a question")
    _add_filter(parser)


def _add_filter(parser: argparse.ArgumentParser) -> None:
    """Add which candidates count as false negatives; near duplicates of the positive always do."""
    parser.add_argument(
        "--candidates", type=whole, default=NegativeOptions.depth, help="negatives are drawn from these"
    )
    parser.add_argument("--other-titles", action="store_true", help="no negatives of the positive's title")
    parser.add_argument(
        "--max-share", type=float, help=f"of the positive's score; default: {_MINED_SHARE} when mined, else no limit"
    )
    parser.add_argument("--pool", type=whole, default=NegativeOptions.pool, help="passages a model ranks at once")


def _add_batch(parser: argparse.ArgumentParser, *, batch_size: int | None) -> None:
    """Add what a batch holds, and the device."""
    parser.add_argument("--batch-size", type=whole, default=batch_size, help="questions")
    parser.add_argument("--passage-length", type=whole, default=recipes.FinetuneOptions.passage_length, help="tokens")
    parser.add_argument("--device", choices=DEVICES, default="auto")


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(whole(part) for part in text.split(","))


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _questions(args: argparse.Namespace) -> list[QuestionPair]:
    if args.questions is None:
        raise TrainingError("name the questions with --questions: a .jsonl or .tsv file, or hub:NAME")
    return read_training(args.questions, queries=args.queries, collection=args.collection, sources=args.sources)


def _negatives(args: argparse.Namespace, questions: list[QuestionPair]) -> NegativeOptions:
    kind = args.negatives or ("given" if any(pair.negatives for pair in questions) else "bm25")
    return _filter(args, kind, n=args.n_negatives)


def _filter(args: argparse.Namespace, kind: str, *, n: int = 1) -> NegativeOptions:
    share = _MINED_SHARE if args.max_share is None and kind == "self" else args.max_share
    depth = max(n, args.candidates)
    return NegativeOptions(kind, n, depth, other_titles=args.other_titles, max_share=share, pool=args.pool)


def _finetune(args: argparse.Namespace) -> Report:
    options, questions = options_of(args), _questions(args)
    batch = recipes.FinetuneOptions(
        batch_size=args.batch_size,
        parallel_every=0 if args.pure else recipes.FinetuneOptions.parallel_every,
        passage_length=args.passage_length,
        heads=args.heads,
        pooling=args.single_vector,
        temperature=args.temperature,
        attend_to_masks=args.attend_to_masks,
        negatives=_negatives(args, questions),
    )
    report = recipes.finetune(
        args.source,
        args.out,
        questions=questions,
        pairs=parallel_pairs(args),
        batch=batch,
        options=options,
        device=args.device,
    )
    data = {"questions": len(questions), "negatives": batch.negatives.kind, "pure": args.pure or not args.parallel}
    return report_of({"stage": "finetune", "checkpoint": str(args.out), **data, **report.as_dict()})


def _mine(args: argparse.Namespace) -> Report:
    facts = mine(_questions(args), args.source, args.out, options=_filter(args, "self"), seed=args.seed)
    return report_of({"stage": "mine", "file": str(args.out), **facts})


def _distil(args: argparse.Namespace) -> Report:
    args.learning_rate = args.learning_rate or (_TOKEN_RATE if args.teacher else _SCORE_RATE)
    options = options_of(args)
    if args.teacher:
        if args.texts is None or args.questions is None:
            raise TrainingError("--teacher needs --texts and --questions, English sentences beside --parallel ones")
        pairs = parallel_pairs(args)
        pairs += recipes.english_pairs(args.texts, _questions(args))
        size = {"batch_size": args.batch_size} if args.batch_size else {}
        report = recipes.distil(
            args.source, args.out, teacher=args.teacher, pairs=pairs, options=options, device=args.device, **size
        )
        return report_of({"stage": "distil", "checkpoint": str(args.out), "from": "tokens", **report.as_dict()})
    batch = recipes.ScoreOptions(
        batch_size=args.batch_size or recipes.ScoreOptions.batch_size,
        n_passages=args.n_passages,
        passage_length=args.passage_length,
        alpha=args.alpha,
        min_max=args.min_max,
    )
    scored = _scored(args)
    report = recipes.distil_scores(
        args.source, args.out, scored=scored, batch=batch, options=options, device=args.device
    )
    data = {"from": "scores", "questions": len(scored), "min_max": args.min_max}
    return report_of({"stage": "distil", "checkpoint": str(args.out), **data, **report.as_dict()})


def _joint(args: argparse.Namespace) -> Report:
    options, questions = options_of(args), _questions(args)
    pairs = parallel_pairs(args) + recipes.english_pairs(args.texts, questions)
    triples = make_triples(questions, _negatives(args, questions), seed=args.seed)
    data = JointData(args.texts, pairs, triples, args.teacher)
    batch = JointOptions(cycle=RANKING if args.ranking else JOINT, shared_rate=args.shared_rate, heads=args.heads)
    report = train_jointly(args.source, args.out, data=data, options=options, batch=batch, device=args.device)
    sizes = {"parallel": len(pairs), "triples": len(triples)}
    return report_of({"stage": "joint", "checkpoint": str(args.out), **sizes, **report.as_dict()})


def _scored(args: argparse.Namespace) -> list[ScoredQuery]:
    """Read the scores, or let the teacher give them; those are kept in the run's folder for when it is resumed."""
    if args.scores:
        return read_scores(args.scores, queries=args.queries, collection=args.collection)
    kept = args.out / "run" / "scores.jsonl"
    if not kept.is_file():
        questions = _questions(args)
        kind = _negatives(args, questions).kind
        if kind == "self":
            raise TrainingError("mine negatives with `xm train mine` first, and give its file as --questions")
        triples = make_triples(questions, _filter(args, kind, n=args.n_passages - 1), seed=args.seed)
        folder = args.cross_encoder or args.single_vector_teacher
        teacher = cross_encoder(folder, device=args.device) if args.cross_encoder else single_vector_teacher(folder)
        write_scores(score_triples(teacher, triples), kept)
    return read_scores(kept)
