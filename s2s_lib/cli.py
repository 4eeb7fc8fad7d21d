"""The command line: train, translate, evaluate, reproduce.

    python -m s2s_lib train --corpus multi30k --pair en-fr --out fr.model
    python -m s2s_lib train --architecture transformer --out t.model
    echo "a dog runs ." | python -m s2s_lib translate --model fr.model
    python -m s2s_lib evaluate --model fr.model
    python -m s2s_lib reproduce plain --seed 0

`train` also runs in several processes, under torchrun or `accelerate launch`;
one of them speaks for all. Results go to standard output, progress and
messages to standard error.
"""

import argparse
import errno
import glob
import inspect
import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import torch

from s2s_lib import corpora, evaluation, models, recipes, search, streams
from s2s_lib.grammar import SentencePair
from s2s_lib.held_out import (
    STREAMED,
    pairs_to_score,
    refuse_files_of,
    refuse_training,
)
from s2s_lib.recurrent import RecurrentConfig
from s2s_lib.storage import CheckpointError, load_tensors, temporary_of
from s2s_lib.training import (
    PRECISIONS,
    TrainingConfig,
    TrainingError,
    fit,
    join,
)
from s2s_lib.transformer import TransformerConfig
from s2s_lib.vocab import detokenize, tokenize

ARCHITECTURES = {
    "recurrent": RecurrentConfig,
    "transformer": TransformerConfig,
}
BLOCK = 512  # lines that `translate` reads before it answers
STOPPED = 130  # what a shell reports for a command that ^C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 2 on an error, 130 after ^C."""
    args = _parser().parse_args(arguments)
    nowhere = Path(os.devnull)
    if sys.stderr is None:  # closed: nobody listens
        sys.stderr = nowhere.open("w")
    if sys.stdout is None:
        answers = args.run in (_translate, _evaluate)
        if answers or (args.run is _reproduce and args.recipe is None):
            _complain("error: standard output is closed; nobody would read it")
            return 2
        sys.stdout = nowhere.open("w")
    try:
        status = args.run(args)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        _complain(f"\nstopped; {args.on_stop(args)}")
        return STOPPED
    except BrokenPipeError:  # the reader of our output has gone, as head does
        # Nor can what is left be written when Python ends.
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        # A training speaks on standard error only, and has not ended.
        return 2 if args.run is _train else 0
    except (OSError, ValueError, CheckpointError, TrainingError) as error:
        _complain(f"error: {error}")
        return 2
    except OverflowError as error:
        _complain(f"error: a number is too large ({error})")
        return 2
    except (MemoryError, RuntimeError) as error:
        if _no_memory(error):
            why = str(error).partition("\n")[0] or "no more could be had"
            _complain(f"error: out of memory ({why}); {args.on_no_memory}")
            return 2
        # Where another process has ended, the connection to it is broken.
        if _first_to_complain():
            raise
        return 2


def _no_memory(error: Exception) -> bool:
    """Whether memory is what was missing; some devices only say so."""
    said = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(
        words in str(error) for words in said
    )


def _complain(message: str) -> None:
    if _first_to_complain():
        print(message, file=sys.stderr)


def _first_to_complain() -> bool:
    """Of several processes one is to say what went wrong, the first."""
    if not torch.distributed.is_available():
        return True
    if not torch.distributed.is_initialized():
        return os.environ.get("RANK", "0") == "0"
    # Where the processes found each other they leave a note.
    store = torch.distributed.distributed_c10d._get_default_store()
    try:
        return store.add("s2s_lib complaints", 1) == 1
    except RuntimeError:  # the first process kept it, and has ended
        return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m s2s_lib",
        description="Sequence-to-sequence models that can be read.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser("train", help="train a model on sentence pairs")
    _corpus_options(one, "generated")
    one.add_argument("--valid", metavar="FILE", help=_VALID)
    one.add_argument("--out", type=Path, required=True, help="model file")
    one.add_argument("--min-count", type=int, default=1, help=_MIN_COUNT)
    one.add_argument("--subwords", type=int, default=0, help=_SUBWORDS)
    one.add_argument(
        "--subword-dropout", type=float, default=0.0, help=_SUBWORD_DROPOUT
    )
    one.add_argument(
        "--reverse-source", action="store_true", help="read it from its end"
    )
    one.add_argument(
        "--architecture",
        choices=tuple(ARCHITECTURES),
        default="recurrent",
        help="(default recurrent)",
    )
    _settings(one, ARCHITECTURES | {"": TrainingConfig})
    one.add_argument(
        "--checkpoint-every",
        type=int,
        default=200,
        help="steps between two checkpoints (default 200)",
    )
    one.add_argument("--accumulate", type=int, default=1, help=_ACCUMULATE)
    one.add_argument(
        "--precision", choices=tuple(PRECISIONS.values()), help=_PRECISION
    )
    _device_option(one)
    one.add_argument("--quiet", action="store_true", help="no progress bar")
    one.set_defaults(
        run=_train,
        on_stop=lambda args: (
            f"{_checkpoint(args.out)} keeps the last checkpoint, and the "
            "same command resumes from it"
            if _checkpoint(args.out).exists()
            else "no checkpoint was written yet"
        ),
        on_no_memory=(
            "give a larger --accumulate, for the same updates in more parts, "
            "or start afresh with a smaller --batch-size or --batch-tokens, "
            "or a smaller model (--hidden-size, --embedding-size, --subwords)"
        ),
    )

    one = commands.add_parser(
        "translate", help="translate an argument, or standard input by line"
    )
    one.add_argument("text", nargs="*", help="a sentence; none: read stdin")
    _search_options(one)
    one.add_argument(
        "--n-best",
        type=int,
        default=1,
        metavar="N",
        help="above 1: score, log-probability and text of the best N",
    )
    one.set_defaults(
        run=_translate,
        on_stop=lambda args: "output is partial",
        on_no_memory="give shorter lines, or a smaller --beam",
    )

    one = commands.add_parser("evaluate", help="score a model on a split")
    _corpus_options(one, None)
    _search_options(one)
    one.add_argument(
        "--split", choices=("valid", "test"), help="of a corpus (default test)"
    )
    one.add_argument("--test", metavar="FILE", help=_TEST)
    one.add_argument(
        "--json", action="store_true", help="all that is measured"
    )
    one.set_defaults(
        run=_evaluate,
        on_stop=lambda args: "nothing was scored",
        on_no_memory="give shorter sentences, as --test FILE, or a smaller "
        "--beam",
    )

    one = commands.add_parser(
        "reproduce", help="run a recipe of the book, write results/"
    )
    one.add_argument("recipe", nargs="?", help="none: list the recipes")
    one.add_argument("--seed", type=int, default=0, help="default 0")
    one.add_argument("--quiet", action="store_true", help="no progress bar")
    one.set_defaults(
        run=_reproduce,
        on_stop=lambda args: "the same command resumes the training",
        on_no_memory="a recipe's settings are fixed: end other programs, or "
        "take a machine with more",
    )
    return parser


_VALID = "pairs to validate on (default: a part that the corpus holds out; if "
_VALID += "it is not streamed, that part is not trained on in either case)"
_PAIR = "languages, such as en-fr or en-de; of your own files: names only"
_TEST = "score all pairs of this FILE.tsv or SOURCE,TARGET, and no corpus"
_MIN_COUNT = "rarer training words become <unk>"
_SUBWORD_DROPOUT = (
    "share of merges left out when training pairs are spelled, anew in each "
    "epoch (BPE-dropout); not for a folder of shards"
)
_SUBWORDS = "size of one vocabulary of subwords for both sides; 0: words"
_ACCUMULATE = "compute each update in so many parts, in less memory"
_PRECISION = "bfloat16: faster on many devices (default float32)"


def _corpus_options(parser: argparse.ArgumentParser, default: str | None):
    note = f"{', '.join(corpora.NAMES)}, FILE.tsv or SOURCE,TARGET (files)"
    if default:
        note += "; a folder or pattern of .tsv files, such as "
        note += "'shards/*.tsv.gz', or two patterns, is streamed"
    parser.add_argument("--corpus", default=default, help=note)
    parser.add_argument("--pair", help=_PAIR)


def _search_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model file")
    parser.add_argument(
        "--beam",
        type=int,
        default=1,
        help="1, without a length penalty: greedy search (default 1)",
    )
    parser.add_argument(
        "--length-penalty",
        type=float,
        default=0.0,
        help="rank by log-probability / length**this (default 0)",
    )
    parser.add_argument("--max-steps", type=int, help="longest output")
    _device_option(parser)


def _settings(
    parser: argparse.ArgumentParser, configs: dict[str, type]
) -> None:
    """An option for each field of these configurations.

    What is not given is left out of the arguments, so that the
    configuration's own default holds; a field that several of them have is
    one option, which says what it means to each, and each default.
    """
    defaults: dict[str, dict[str, Any]] = {}
    for owner, config in configs.items():
        for f in fields(config):
            assert f.default is not MISSING
            defaults.setdefault(f.name, {})[owner] = f.default
    meanings = {owner: _meanings(c) for owner, c in configs.items()}
    for name, by_owner in defaults.items():
        notes = (
            (f"{owner}: " if owner else "")
            + f"{meanings[owner][name]} (default {default})"
            for owner, default in by_owner.items()
        )
        default = next(iter(by_owner.values()))
        kind = (
            {"action": argparse.BooleanOptionalAction}
            if isinstance(default, bool)
            else {"type": int if default is None else type(default)}
        )
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            default=argparse.SUPPRESS,
            help=" -- ".join(notes).replace("%", "%%"),
            **kind,
        )


def _meanings(config: type) -> dict[str, str]:
    """What the docstring of a configuration says of each field."""
    _, _, text = (inspect.getdoc(config) or "").partition("Args:\n")
    entries = re.findall(
        r"^    (\w.*?): (.*(?:\n {8}.*)*)", text, re.MULTILINE
    )
    return {
        name: " ".join(meaning.split()).rstrip(".")
        for names, meaning in entries
        for name in names.split(", ")
    }


def _configuration(args: argparse.Namespace, config: type) -> Any:
    """A configuration of what was given, and defaults for the rest."""
    names = {f.name for f in fields(config)} & vars(args).keys()
    return config(**{name: getattr(args, name) for name in names})


def _model_configuration(args: argparse.Namespace) -> Any:
    chosen = ARCHITECTURES[args.architecture]
    known = {f.name for f in fields(chosen)}
    for name, config in ARCHITECTURES.items():
        for f in fields(config):
            if f.name in vars(args) and f.name not in known:
                raise ValueError(
                    f"--{f.name.replace('_', '-')} is a setting of "
                    f"--architecture {name}, not of {args.architecture}"
                )
    return _configuration(args, chosen)


def _device_option(parser: argparse.ArgumentParser) -> None:
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=default, help="cpu, cuda, mps ...")


def _device(name: str, launched: bool = False) -> torch.device:
    try:
        if launched:  # not all processes are to use the first one
            return torch.device(name)
        first = torch.zeros(1, device=name)
        first.item()  # which "meta" has none of
        return first.device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).partition("\n")[0]
        raise ValueError(f"--device {name} cannot be used: {why}") from error


def _check_out(out: Path) -> None:
    """Refuse to write a model over anything but a model, or nothing."""
    folder = f"--out {out} is a folder; give the name of a file"
    if not out.name:  # ".", "/" or nothing
        raise ValueError(folder)
    try:  # the longest name that is going to be written
        temporary_of(_checkpoint(out)).exists()
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
            raise ValueError(
                f"--out {out} cannot be written ({error.strerror}); give a "
                "file in a folder where it can"
            ) from error
        raise ValueError(
            f"--out: no file can have that name ({error.strerror}), or the "
            "checkpoint beside it none; give a shorter one"
        ) from error
    if out.is_dir():
        raise ValueError(folder)
    if not out.exists() or (out.is_file() and not out.stat().st_size):
        return
    try:
        known = "recipe" in load_tensors(out)[1]
    except (CheckpointError, FileNotFoundError):
        known = False
    if not known:
        raise ValueError(
            f"--out {out} exists and is no model of this library; give "
            "another name, so that nothing is lost"
        )


def _checkpoint(out: Path) -> Path:
    return out.with_name(out.name + ".checkpoint")


def _train(args: argparse.Namespace) -> int:
    device = _device(args.device, launched="LOCAL_RANK" in os.environ)
    accelerator = join(device)
    main, several = accelerator.is_main_process, accelerator.num_processes > 1
    if several:
        device = accelerator.device
    recipe = recipes.Recipe(
        model=_model_configuration(args),
        training=_configuration(args, TrainingConfig),
        corpus=args.corpus,
        pair=args.pair,
        min_count=args.min_count,
        reverse_source=args.reverse_source,
        subwords=args.subwords,
        subword_dropout=args.subword_dropout,
    )
    _check_out(args.out)
    if args.valid:
        refuse_files_of(
            args.corpus,
            args.valid,
            "which is trained on; give --valid FILE that is not part of it",
        )
    recipes.check_writable(
        # Of a link, the folder that it leads to.
        Path(os.path.realpath(args.out)).parent,
        f"--out {args.out}",
        "give a file where it can",
    )
    shards = None
    if streams.is_sharded(args.corpus):
        if recipe.subword_dropout:
            raise ValueError(
                "--subword-dropout is for a corpus that fits into memory, "
                f"and {args.corpus} would be streamed; leave one of them out"
            )
        shards, corpus = _sharded(args)
        count = f"a stream of {len(shards.files):,} files"
    else:
        corpus = recipes.corpus_of(recipe)
        count = f"{len(corpus.train):,} training pairs"
    trained = models.build(recipe, corpus, recipe.training.seed)
    trained.recipe = replace(recipe, corpus=_from_anywhere(args.corpus))
    if shards:
        trained.corpus_fingerprint = STREAMED + trained.corpus_fingerprint
    trained.model.to(device)
    if args.valid and not shards:
        corpus = replace(corpus, valid=_whole(args.valid))
    _check_lengths(trained, corpus.valid)
    if shards:
        vocabs = trained.source_vocab, trained.target_vocab
        words = json.dumps([models.stored(vocab) for vocab in vocabs])
        pairs = streams.Stream(shards, trained.encode, about=words)
        corpus = replace(corpus, train=[])  # it has made the vocabularies
    else:
        pairs = trained.updates(corpus.train)
    sizes = len(trained.source_vocab), len(trained.target_vocab)
    parameters = sum(p.numel() for p in trained.model.parameters())
    checkpoint = _checkpoint(args.out)
    if main:
        _say(
            f"{corpus.name}: {count}, vocabularies of {sizes[0]:,} and "
            f"{sizes[1]:,}, {parameters:,} parameters"
        )
        if several:
            _say(f"{accelerator.num_processes} processes share each update")
        if checkpoint.exists():
            _say(f"resuming from {checkpoint}")
        if args.out.exists():
            _say(f"{args.out} is there already and will be replaced")

    def report(_) -> dict[str, float]:
        scores = evaluation.validate(trained, corpus.valid)
        _say("  ".join(f"{key} {value:.3f}" for key, value in scores.items()))
        return scores

    trained.history = fit(
        trained.model,
        pairs,
        recipe.training,
        report,
        checkpoint,
        args.checkpoint_every,
        progress=not args.quiet,
        accumulate=args.accumulate,
        precision=args.precision,
    )
    if main:
        models.save(args.out, trained)
        checkpoint.unlink(missing_ok=True)
        _say(f"wrote {args.out}")
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return 0


def _check_lengths(trained: models.Trained, pairs: list[SentencePair]) -> None:
    """Find out before a training what could not be validated in it.

    Raises:
        ValueError: if one of the longest pairs does not fit into the model.
    """
    sizes = [[*map(len, pair)] for pair in trained.encode(pairs)]
    for size in (lambda n: n[0], lambda n: n[1], sum):
        place = max(range(len(sizes)), key=lambda i: size(sizes[i]))
        source, target = sizes[place]
        try:
            evaluation.forced_predictions(trained, [pairs[place]])
        except ValueError as error:
            begin = " ".join(pairs[place].source[:5])
            raise ValueError(
                f"a validation pair of {source} source and {target} target "
                f"ids, {begin!r} ..., does not fit into the model: {error}"
            ) from error


def _sharded(
    args: argparse.Namespace,
) -> tuple[streams.Shards, corpora.ParallelCorpus]:
    """Files to stream; a sample of them, and what to validate on."""
    if args.valid:
        shards, valid = streams.Shards(args.corpus), _whole(args.valid)
    else:
        shards, valid = streams.Shards.split(args.corpus)
    languages = corpora._languages(args.pair or "source-target")
    return shards, corpora.ParallelCorpus(
        args.corpus, *languages, shards.sample(), valid, []
    )


def _whole(name: str) -> list[SentencePair]:
    """All pairs of a .tsv file, or of SOURCE,TARGET."""
    sides = corpora.paths_of(name)
    both = len(sides) == 2
    read = corpora.from_files if both else corpora.from_tsv
    sides = sides if both else [name]
    return read(*sides, valid_fraction=0.0, test_fraction=0.0).train


def _from_anywhere(name: str) -> str:
    """The name of a corpus that means the same in any working folder."""
    if name in corpora.NAMES:
        return name
    here = Path.cwd()
    return ",".join(
        str(Path(side).absolute())
        if os.path.exists(side)
        else os.path.join(glob.escape(str(here)), side)  # a pattern
        for side in corpora.paths_of(name)
    )


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _options(args: argparse.Namespace) -> dict:
    return {
        "beam_size": args.beam,
        "length_penalty": args.length_penalty,
        "max_steps": args.max_steps,
    }


def _load(args: argparse.Namespace) -> models.Trained:
    device = _device(args.device)
    trained = models.load(args.model)
    trained.model.to(device)
    return trained


def _lines() -> Iterator[str]:
    """Lines of standard input, read as the corpora are.

    Raises:
        ValueError: if there is none, or a line is not UTF-8.
    """
    if sys.stdin is None:
        raise ValueError("standard input is closed; give a sentence or a pipe")
    note = "the lines before it are translated"
    for number, line in enumerate(sys.stdin.buffer, 1):
        yield corpora.decode_line(line, "standard input", number, note)


def _blocks(lines: Iterator[str], size: int) -> Iterator[list[str]]:
    """So many lines at a time; an error comes after the lines before it."""
    block = []
    try:
        for line in lines:
            block.append(line)
            if len(block) == size:
                yield block
                block = []
    except ValueError:
        if block:
            yield block
        raise
    if block:
        yield block


def _translate(args: argparse.Namespace) -> int:
    if args.n_best < 1:
        raise ValueError(f"--n-best must be 1 or more, not {args.n_best}")
    if args.n_best > args.beam:
        raise ValueError(
            f"--n-best {args.n_best} needs a --beam of that size or more, "
            f"not {args.beam}"
        )
    trained = _load(args)
    _write_utf8()
    lines = iter([" ".join(args.text)]) if args.text else _lines()
    # Some lines at a time: a pipe of any length fits into memory. Who types
    # is answered line by line.
    typed = not args.text and sys.stdin is not None and sys.stdin.isatty()
    done = 0
    for block in _blocks(lines, 1 if typed else BLOCK):
        # As in the corpora: e and its accent are one letter.
        block = [unicodedata.normalize("NFC", line) for line in block]
        sentences = [trained.source(tokenize(line)) for line in block]
        found = _found(args, trained, sentences, done)
        done += len(block)
        for sentence, hypotheses in zip(sentences, found, strict=True):
            if not sentence:  # an empty line in, an empty line out
                _show("")
                continue
            for h in hypotheses[: args.n_best]:
                text = detokenize(trained.target_vocab.decode(h.tokens))
                if args.n_best > 1:
                    text = f"{h.score:.4f}\t{h.log_prob:.4f}\t{text}"
                _show(text)
    return 0


def _found(
    args: argparse.Namespace,
    trained: models.Trained,
    sentences: list[list[str]],
    done: int,
) -> Iterator[list[search.Hypothesis]]:
    """Hypotheses of each sentence of a block; so many lines were before it.

    Raises:
        ValueError: if the model cannot take a sentence, after the answers to
            those before it; the line is named.
    """
    vocab, options = trained.source_vocab, _options(args)
    try:
        yield from search.n_best(trained.model, sentences, vocab, **options)
        return
    except ValueError as error:
        if args.text:
            raise
        if len(sentences) == 1:
            if str(error) == _of_an_empty_line(trained, options):
                raise  # no line is to blame
            raise ValueError(
                f"standard input, line {done + 1}: {error}; the lines before "
                "it are translated"
            ) from error
    half = len(sentences) // 2
    yield from _found(args, trained, sentences[:half], done)
    yield from _found(args, trained, sentences[half:], done + half)


def _of_an_empty_line(trained: models.Trained, options: dict) -> str:
    """What is said against an empty line, if anything."""
    try:
        search.n_best(trained.model, [[]], trained.source_vocab, **options)
    except ValueError as error:
        return str(error)
    return ""


def _write_utf8() -> None:
    """Write as we read, where nobody has chosen: a terminal has its own
    encoding, and so has who set the variable of Python."""
    out = sys.stdout
    chosen = os.environ.get("PYTHONIOENCODING")
    if hasattr(out, "reconfigure") and not out.isatty() and not chosen:
        out.reconfigure(encoding="utf-8", errors=out.errors)


def _show(text: str) -> None:
    """Print a line at once.

    Raises:
        ValueError: if it has a character that the output cannot show.
    """
    try:
        print(text, flush=True)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"standard output is written in {sys.stdout.encoding}, which has "
            f"no {error.object[error.start]!r}; set the environment variable "
            "PYTHONIOENCODING=utf-8, or write to a file"
        ) from error


def _evaluate(args: argparse.Namespace) -> int:
    if args.test and (args.corpus or args.pair or args.split):
        raise ValueError(
            "--test FILE is scored as a whole: leave out --corpus, --pair "
            "and --split"
        )
    trained = _load(args)
    _write_utf8()
    split = args.split or "test"
    if args.test:
        refuse_training(args.test, trained)
        name, pairs, language = args.test, _whole(args.test), None
    else:
        name, pairs, language = pairs_to_score(
            trained, split, args.corpus, args.pair
        )
    metrics = evaluation.evaluate(trained, pairs, language, **_options(args))
    if args.json:
        # NaN, for a part without words, is not JSON: it becomes null.
        print(json.dumps(recipes.rounded(metrics), indent=1))
        return 0
    where = name if args.test else f"{name}, {split}"
    print(f"{where}: {len(pairs):,} sentences")
    print(f"BLEU {metrics['bleu']:.2f}  {metrics['signature']}")
    if tokenized := metrics.get("bleu_tokenized"):
        print(f"BLEU {tokenized['score']:.2f}  {tokenized['signature']}")
    print(f"perplexity {metrics['perplexity']:.3f} per token, teacher-forced")
    for (low, high), score in zip(
        corpora.LENGTH_BUCKETS, metrics["bleu_by_length"], strict=True
    ):
        value = "no sentences" if score is None else f"BLEU {score:.2f}"
        print(f"  {low:2d}-{high:2d} source tokens: {value}")
    if longer := sum(len(pair.source) > high for pair in pairs):
        print(
            f"  more than {high} source tokens: {longer:,} sentence(s), which "
            "count in the BLEU and perplexity above only"
        )
    return 0


def _reproduce(args: argparse.Namespace) -> int:
    if args.recipe is None:
        for name in recipes.RECIPES:
            print(name)
        return 0
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            "reproduce runs in one process, as what it reproduces did; start "
            "it without a launcher"
        )
    path = recipes.reproduce(args.recipe, args.seed, not args.quiet)
    print(path)
    return 0
