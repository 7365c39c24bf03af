"""Fine-tuning and distillation from scores on a tiny checkpoint: heads, the twin, mined negatives, teachers."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from tests.tiny import SENTENCES, build_checkpoint, word_tokenizer
from xm.encoder import load_encoder
from xm.errors import TrainingError
from xm.maxsim import maxsim
from xm.train import recipes
from xm.train.data import QuestionPair, read_questions
from xm.train.distil import score_loss
from xm.train.finetune import Side, false_negatives, score_texts, triple_loss
from xm.train.loop import LoopOptions
from xm.train.losses import in_batch_loss, pair_loss
from xm.train.mining import mine
from xm.train.negatives import ENGLISH, NegativeOptions, make_triples
from xm.train.single_vector import POOLINGS, SingleVector, pool
from xm.train.student import load_student
from xm.train.teachers import (
    ScoredQuery,
    cross_encoder,
    read_scores,
    score_triples,
    single_vector_teacher,
    write_scores,
)
from xm.types import LanguageGuess

WORDS = " ".join(SENTENCES).split()
PAIRS = [
    QuestionPair(" ".join(WORDS[i : i + 3]), " ".join(WORDS[i + 1 : i + 9]), title=f"part {i % 2}")
    for i in range(0, 48, 6)
]
STEPS = LoopOptions(n_steps=2, learning_rate=1e-3)
PURE = {"batch_size": 4, "parallel_every": 0, "negatives": NegativeOptions("random")}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return build_checkpoint(tmp_path_factory.mktemp("train") / "source")


def _finetune(source, out, **changes):
    batch = recipes.FinetuneOptions(**{**PURE, **changes})
    return recipes.finetune(source, out, questions=PAIRS, pairs=(), batch=batch, options=STEPS)


def test_heads_of_several_sizes_learn_apart_and_are_saved_under_their_dims(source, tmp_path):
    _finetune(source, tmp_path, heads=(4, 8, 16))
    saved = load_file(tmp_path / "model.safetensors")
    shapes = {name: tuple(saved[name].shape) for name in saved if name.startswith("linear")}
    assert shapes == {"linear.weight": (16, 48), "linear_4.weight": (4, 48), "linear_8.weight": (8, 48)}
    assert not torch.equal(saved["linear_8.weight"], saved["linear.weight"][:8])  # untied
    student, _ = load_student(tmp_path)
    assert [len(head) for head in student.heads()] == [16, 4, 8]
    again = tmp_path / "again"
    _finetune(tmp_path, again)  # heads that are there go on learning without being asked for
    assert not torch.equal(load_file(again / "model.safetensors")["linear_8.weight"], saved["linear_8.weight"])


def test_a_new_head_starts_as_the_full_ones_first_rows_and_sizes_are_checked(source):
    student, _ = load_student(source)
    student.set_sizes([8])
    assert torch.equal(student.heads()[1], student.heads()[0][:8])
    with pytest.raises(TrainingError, match=r"\[0, 17\] dims: expected sizes from 1 to the full one, 16"):
        student.set_sizes([17, 0])


def test_the_loss_is_the_papers_summed_over_the_heads(source):
    student, texts = load_student(source)
    student.set_sizes([4])
    triples = make_triples(PAIRS[:3], NegativeOptions("random"), seed=0)
    with torch.inference_mode():
        loss, n_tokens = triple_loss(student, texts, triples)
        passages = [text for triple in triples for text in (triple.positive, *triple.negatives)]
        questions = [triple.question for triple in triples]
        tables, _ = score_texts(student, texts, Side(questions, ENGLISH), Side(passages, ENGLISH))
        slow = 0.0
        for table in tables:
            positive = torch.stack([table[i, 2 * i] for i in range(3)])
            negative = torch.stack([table[i, 2 * i + 1 : 2 * i + 2] for i in range(3)])
            slow += pair_loss(positive, negative) + in_batch_loss(table, 2, false=false_negatives(triples))
    assert len(tables) == 2 and loss.item() == pytest.approx(slow.item(), rel=1e-6)
    assert n_tokens > 3 * 32


def test_a_score_in_training_is_the_encoders_maxsim(tmp_path):
    folder = build_checkpoint(tmp_path, metadata={"attend_to_mask_tokens": False})
    student, texts = load_student(folder)
    encoder, german = load_encoder(str(folder)), LanguageGuess("de_DE", 1.0, "given")
    queries, passages = [PAIRS[0].question, "was ?"], [PAIRS[1].passage, f"{PAIRS[2].passage} , und . so", "kurz"]
    with torch.inference_mode():
        [table], _ = score_texts(student, texts, Side(queries, "de_DE"), Side(passages, "de_DE"))
    read = encoder.encode_passages(passages, [german] * 3)
    asked = [encoder.encode_query(query, german) for query in queries]
    slow = [[maxsim(query.vectors, text.vectors) for text in read] for query in asked]
    assert np.allclose(table.numpy(), slow, atol=1e-4)


def test_pooling_by_hand_with_padding_left_out():
    states = torch.tensor([[[1.0, -4.0], [3.0, -2.0], [9.0, 9.0]]])
    mask = torch.tensor([[True, True, False]])
    assert pool(states, mask, "mean").tolist() == [[2.0, -3.0]]
    assert pool(states, mask, "max").tolist() == [[3.0, -2.0]]
    assert pool(states, mask, "cls").tolist() == [[1.0, -4.0]]


def test_the_twins_scores_are_cosines_over_the_temperature(source):
    student, texts = load_student(source)
    twin = SingleVector(student, "mean", temperature=0.05)
    side = Side([PAIRS[0].passage, PAIRS[1].passage], ENGLISH)
    with torch.inference_mode():
        [table], _ = score_texts(twin, texts, side, side)
    assert torch.allclose(table.diagonal(), torch.tensor([20.0, 20.0]), atol=1e-4)
    assert table.abs().max() <= 20.001


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_twin_is_saved_as_sentence_transformers_saves_it(source, tmp_path, pooling):
    _finetune(source, tmp_path, pooling=pooling)
    modules = json.loads((tmp_path / "modules.json").read_text())
    assert [module["path"] for module in modules] == ["", "1_Pooling"]
    modes = json.loads((tmp_path / "1_Pooling" / "config.json").read_text())
    assert [name for name, on in modes.items() if on is True] == [
        {"mean": "pooling_mode_mean_tokens", "max": "pooling_mode_max_tokens", "cls": "pooling_mode_cls_token"}[pooling]
    ]
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["XmodModel"]
    before, after = load_file(source / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert set(after) == {name.removeprefix("roberta.") for name in before if name.startswith("roberta.")}
    changed = [name for name in after if not torch.equal(after[name].half(), before[f"roberta.{name}"].half())]
    assert changed and not any("embeddings" in name or "adapter" in name for name in changed)


def test_the_twin_is_loaded_by_the_encoder_and_equals_the_one_in_training(source, tmp_path):
    _finetune(source, tmp_path, pooling="mean")
    encoder, german = load_encoder(str(tmp_path)), LanguageGuess("de_DE", 1.0, "given")
    text = PAIRS[0].passage
    student, texts = load_student(source)
    weights = load_file(tmp_path / "model.safetensors")
    student.backbone.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=False)
    twin = SingleVector(student, "mean", temperature=1.0).eval()
    with torch.inference_mode():
        expected = twin(texts.plain([text], "de_DE", length=64)).numpy()
    assert np.allclose(encoder.encode_passages([text], [german])[0].vectors, expected, atol=1e-4)
    assert np.allclose(encoder.encode_query(text, german).vectors, expected, atol=1e-4)


def test_a_twin_has_no_heads_and_a_batch_needs_enough_triples(source, tmp_path):
    with pytest.raises(TrainingError, match="no heads"):
        _finetune(source, tmp_path, pooling="mean", heads=(8,))
    with pytest.raises(TrainingError, match="a batch of 9 cannot be filled from 8"):
        _finetune(source, tmp_path, batch_size=9)


def test_each_round_takes_every_item_once_in_an_order_of_its_own():
    turns = recipes._Turns(6, 2, seed=0)
    rounds = [sum((turns(number * 3 + place) for place in range(3)), []) for number in range(3)]
    assert all(sorted(items) == list(range(6)) for items in rounds)
    assert rounds[0] != rounds[1] or rounds[1] != rounds[2]
    assert [turns(turn) for turn in (8, 0)] == [recipes._Turns(6, 2, seed=0)(turn) for turn in (8, 0)]


def test_mined_negatives_are_the_pools_best_passages_in_order(source, tmp_path):
    options = NegativeOptions(depth=3)
    report = mine(PAIRS, source, tmp_path / "mined.jsonl", options=options, seed=0)
    mined = read_questions(tmp_path / "mined.jsonl")
    assert [(pair.question, pair.passage, pair.title) for pair in mined] == [
        (pair.question, pair.passage, pair.title) for pair in PAIRS
    ]
    assert report == {"questions": 8, "with_negatives": 8, "negatives": 24}
    encoder, english = load_encoder(str(source)), LanguageGuess(ENGLISH, 1.0, "given")
    query = encoder.encode_query(PAIRS[0].question, english).vectors
    vectors = encoder.encode_passages([pair.passage for pair in PAIRS], [english] * len(PAIRS))
    slow = sorted(((query @ text.vectors.T).max(axis=1).sum(), text.text) for text in vectors[1:])[::-1]
    assert list(mined[0].negatives) == [text for _, text in slow[:3]]


def test_mining_in_pools_stays_within_them_and_too_good_passages_are_left_out(source, tmp_path):
    mine(PAIRS, source, tmp_path / "pools.jsonl", options=NegativeOptions(pool=2, depth=5), seed=1)
    pools = {frozenset((pair.passage, *pair.negatives)) for pair in read_questions(tmp_path / "pools.jsonl")}
    assert len(pools) == 4 and all(len(pool) == 2 for pool in pools)  # pairs of passages that know each other alone
    limited = mine(PAIRS, source, tmp_path / "none.jsonl", options=NegativeOptions(max_share=0.0), seed=1)
    assert limited["negatives"] == 0


def test_self_mined_negatives_are_kept_for_a_run_that_is_resumed(source, tmp_path):
    _finetune(source, tmp_path, negatives=NegativeOptions("self"))
    mined = tmp_path / "run" / "mined.jsonl"
    assert all(pair.negatives for pair in read_questions(mined))
    mined.write_text(json.dumps({"question": "a", "context": "b"}), encoding="utf-8")
    with pytest.raises(TrainingError, match="names none"):
        _finetune(source, tmp_path, negatives=NegativeOptions("self"))  # it was read, not mined again


SCORED = [
    ScoredQuery(pair.question, (pair.passage, *(p.passage for p in PAIRS[:2])), (9.0, 2.0, 4.0)) for pair in PAIRS
]


def test_distilling_scores_changes_what_fine_tuning_changes_and_lowers_its_loss(source, tmp_path):
    batch = recipes.ScoreOptions(batch_size=4, n_passages=2)
    options = LoopOptions(n_steps=8, learning_rate=1e-3)
    recipes.distil_scores(source, tmp_path, scored=SCORED[2:], batch=batch, options=options)
    before, after = load_file(source / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    changed = [name for name in after if not torch.equal(after[name].half(), before[name].half())]
    assert "linear.weight" in changed and not any("embeddings" in name or "adapter" in name for name in changed)
    losses = []
    for folder in (source, tmp_path):
        student, texts = load_student(folder)
        with torch.inference_mode():
            losses.append(score_loss(student, texts, SCORED[2:], alpha=1.0)[0].item())
    assert losses[1] < losses[0]
    with pytest.raises(TrainingError, match="none of 6 questions has 4 scored passages"):
        too_many = recipes.ScoreOptions(n_passages=4)
        recipes.distil_scores(source, tmp_path / "x", scored=SCORED[2:], batch=too_many, options=options)


@pytest.mark.parametrize("min_max", ["none", "student", "both"])
def test_min_max_says_whose_scores_are_stretched(source, min_max):
    student, texts = load_student(source)
    shifted = [ScoredQuery(q.question, q.passages, tuple(10 * score for score in q.scores)) for q in SCORED[:2]]
    with torch.inference_mode():
        one = score_loss(student, texts, SCORED[:2], alpha=1.0, min_max=min_max)[0].item()
        ten = score_loss(student, texts, shifted, alpha=1.0, min_max=min_max)[0].item()
    assert (abs(one - ten) < 1e-6) == (min_max == "both")


def test_scores_are_read_from_json_lines_and_from_tsv_of_texts_or_ids(tmp_path):
    expected = [ScoredQuery("who?", ("She.", "He."), (2.5, -1.0)), ScoredQuery("what?", ("That.",), (0.0,))]
    write_scores(expected, tmp_path / "scores.jsonl")
    assert read_scores(tmp_path / "scores.jsonl") == expected
    (tmp_path / "scores.tsv").write_text("who?\tShe.\t2.5\nwhat?\tThat.\t0\nwho?\tHe.\t-1\n")
    assert read_scores(tmp_path / "scores.tsv") == expected
    (tmp_path / "queries.tsv").write_text("1\twho?\n2\twhat?\n")
    (tmp_path / "collection.tsv").write_text("a\tShe.\nb\tHe.\nc\tThat.\n")
    (tmp_path / "ids.tsv").write_text("1\ta\t2.5\n1\tb\t-1\n2\tc\t0\n")
    files = {"queries": tmp_path / "queries.tsv", "collection": tmp_path / "collection.tsv"}
    assert read_scores(tmp_path / "ids.tsv", **files) == expected


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("s.tsv", "who?\tShe.", "line 1: 2 columns; expected query, passage, score"),
        ("s.tsv", "who?\tShe.\tmuch", "line 1: score 'much'; expected a number"),
        ("s.tsv", "who?\tShe.\tnan", "finite"),
        ("s.jsonl", '{"question": "who?", "passages": ["a"], "scores": []}', "row 1: needs .*as many `scores`"),
        ("s.jsonl", "nothing", "row 1: not JSON"),
    ],
)
def test_bad_scores_are_named_with_row_and_reason(tmp_path, name, line, message):
    (tmp_path / name).write_text(line)
    with pytest.raises(TrainingError, match=message):
        read_scores(tmp_path / name)


def _write_cross_encoder(folder, n_labels):
    torch.manual_seed(0)
    tokenizer = word_tokenizer()
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, num_labels=n_labels,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    return folder


def test_a_cross_encoder_scores_triples_one_by_one_as_together(tmp_path):
    teacher = cross_encoder(_write_cross_encoder(tmp_path / "one", 1), device="cpu")
    triples = make_triples(PAIRS[:4], NegativeOptions("random", n=2), seed=0)
    scored = score_triples(teacher, triples)
    assert [query.passages[0] for query in scored] == [pair.passage for pair in PAIRS[:4]]
    for query in scored:
        alone = [teacher(query.question, [passage])[0] for passage in query.passages]
        assert query.scores == pytest.approx(alone, abs=1e-5) and len(set(query.scores)) == 3


def test_a_folder_that_is_no_cross_encoder_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="cannot be loaded as a cross-encoder"):
        cross_encoder(tmp_path)
    with pytest.raises(TrainingError, match="gives 3 numbers a pair"):
        cross_encoder(_write_cross_encoder(tmp_path / "three", 3), device="cpu")


def test_a_single_vector_teachers_scores_are_cosines(source, tmp_path):
    _finetune(source, tmp_path, pooling="cls")
    teacher = single_vector_teacher(tmp_path)
    assert teacher(PAIRS[0].passage, [PAIRS[0].passage, PAIRS[1].passage])[0] == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(TrainingError, match="several vectors"):
        single_vector_teacher(source)("cat", ["dog"])
