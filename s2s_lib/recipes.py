"""The trainings that the book's chapters share, each done once.

`train` takes a recipe of the `catalogue`, runs it and keeps the weights in a
cache on disk, so a later chapter loads what an earlier one trained.
`reproduce` scores it once on the test split and writes what was measured to
a small JSON file in `results/`.
"""

import ast
import hashlib
import json
import math
import os
import platform
import subprocess
import tempfile
import time
from dataclasses import asdict, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from s2s_lib import corpora
from s2s_lib.catalogue import RECIPES, Recipe
from s2s_lib.evaluation import compare_searches, evaluate, validate
from s2s_lib.models import Trained, build, load, save, training_pairs
from s2s_lib.training import fit

# The modules whose code decides what a training ends in, and the scores on
# the validation split that are kept with the weights.
_DETERMINES = (
    "vocab", "subwords", "lexicon", "grammar", "captions", "corpora",
    "batches", "modes", "onednn", "losses", "additive", "attention",
    "embeddings", "recurrent", "transformer", "hard", "bugs", "storage",
    "checkpoints", "training", "models", "search", "metrics", "evaluation",
)  # fmt: skip
REAL = ("multi30k", "tatoeba")  # corpora of real sentences
# What else a result may depend on: their versions are kept with it.
_PACKAGES = ("torch", "numpy", "sacrebleu", "tokenizers", "accelerate")


def corpus_of(recipe: Recipe) -> corpora.ParallelCorpus:
    """The corpus that a recipe trains and is tested on."""
    paths = map(Path, corpora.paths_of(recipe.corpus))
    files = [path.stat() for path in sorted(paths) if path.is_file()]
    stamps = tuple((file.st_mtime_ns, file.st_size) for file in files)
    return _load_corpus(recipe.corpus, recipe.pair, stamps)


@lru_cache(maxsize=2)
def _load_corpus(
    name: str, pair: str | None, stamps: tuple[tuple[int, int], ...]
) -> corpora.ParallelCorpus:
    """Loaded once, as long as its files, if it names some, stay the same.

    What the book downloads, or finds in S2S_DATA_DIR, is read once.
    """
    return corpora.load(name, pair=pair)


def fingerprint(
    recipe: Recipe, seed: int, corpus: corpora.ParallelCorpus | None = None
) -> str:
    """A hash of everything that determines the weights and their scores.

    Of the code, what it does: not its comments and docstrings.

    Args:
        corpus: what is trained on, if it is not the recipe's.
    """
    if corpus is None:
        corpus = corpus_of(recipe)
    recipe = replace(recipe, beam_size=1, length_penalty=0.0)
    parts = [json.dumps(asdict(recipe), sort_keys=True), str(seed)]
    parts += [corpus.fingerprint(), torch.__version__]
    folder = Path(__file__).parent
    for name in _DETERMINES:
        path = folder / f"{name}.py"
        parts.append(_code(path.read_text(encoding="utf-8")))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@lru_cache(maxsize=64)
def _code(text: str) -> str:
    """A module without layout, comments and docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        owner = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if owner and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.unparse(tree)  # as all versions of Python write it


# The caller's random numbers go on alike, whether it trains or loads.
@torch.random.fork_rng(devices=[])
def train(
    recipe: Recipe | str,
    seed: int = 0,
    progress: bool = True,
    device: torch.device | str = "cpu",
    corpus: corpora.ParallelCorpus | None = None,
) -> Trained:
    """Train a recipe, or load its weights if it was trained before.

    A training that was stopped goes on from its last checkpoint. The state of
    PyTorch's global random numbers (on the CPU) is afterwards what it was.

    Args:
        recipe: one of the names in `RECIPES`, or a recipe.
        seed: of the weights, the order of the data and dropout; that of
            the recipe's training settings is not used.
        progress: show a bar on standard error.
        device: where to train; the weights of one device serve on another.
        corpus: train and validate on this one, and not on that of the
            recipe. What the recipe says of the pairs, such as `num_train`,
            `max_tokens` and `min_count`, holds for it too. The recipe of
            the result has its name and languages.

    Raises:
        CheckpointError: if the file in the cache is damaged.
        OSError: if the weights could not be kept; nothing is trained then.
        ValueError: if there is no recipe of that name, or the corpus has no
            pairs to train on or to validate with.
    """
    name, recipe = _named(recipe)
    recipe = replace(recipe, training=replace(recipe.training, seed=seed))
    own = corpus
    # Its lists may have changed: a new object has a fingerprint of its own.
    corpus = corpus_of(recipe) if own is None else replace(own)
    if not corpus.valid:
        raise ValueError(
            f"{corpus.name!r} has no validation pairs, and the model is "
            "scored on them during the training; give it some"
        )
    trained = build(recipe, corpus, seed)
    if own is not None:
        pair = f"{corpus.source_language}-{corpus.target_language}"
        trained.recipe = replace(recipe, corpus=corpus.name, pair=pair)
    trained.model.to(device)
    stem = f"{name}-seed{seed}-{fingerprint(recipe, seed, corpus)}"
    path = corpora.cache_dir() / "models" / f"{stem}.safetensors"
    if path.exists():
        return load(path, trained)
    check_writable(
        path.parent,
        f"the cache folder {path.parent}",
        "set S2S_CACHE_DIR to a folder that can",
    )
    pairs = trained.updates(training_pairs(recipe, corpus))
    checkpoint = path.with_suffix(".checkpoint")
    trained.history = fit(
        trained.model,
        pairs,
        recipe.training,
        lambda _: validate(trained, corpus.valid),
        checkpoint,
        progress=progress,
        precision="float32",  # no launcher may choose: no name says it
    )
    save(path, trained)
    # Another process may have finished the same training meanwhile.
    checkpoint.unlink(missing_ok=True)
    return trained


def check_writable(folder: Path, what: str, advice: str) -> None:
    """Find out before a training that its result cannot be kept.

    Args:
        folder: where the result will go; it is made if it is not there.
        what: what the message says cannot be written.
        advice: what the message says to do.

    Raises:
        OSError: if no file can be made there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(
            f"{what} cannot be written ({error}); {advice}"
        ) from error


def _named(recipe: Recipe | str) -> tuple[str, Recipe]:
    if isinstance(recipe, Recipe):
        return "own", recipe
    if recipe not in RECIPES:
        raise ValueError(
            f"there is no recipe {recipe!r}; there are {', '.join(RECIPES)}"
        )
    return recipe, RECIPES[recipe]


def results_dir() -> Path:
    """The folder of the results files: in a checkout, or as installed."""
    here = Path(__file__).parent
    checkout = here.parent / "results"
    return checkout if checkout.is_dir() else here / "results"


def reproduce(name: str, seed: int = 0, progress: bool = True) -> Path:
    """Train a recipe, score it once on the test split, write the results.

    `training_seconds` in the file are those of all updates and validations,
    however often the training was stopped; `seconds` are those of this call
    up to the score on test.

    Returns:
        The file, `results/NAME-seedN.json`.
    """
    name, recipe = _named(name)
    check_writable(
        results_dir(),
        f"the folder of results {results_dir()}",
        "run it in a checkout of the book, where that folder can",
    )
    began, commit = time.perf_counter(), _commit()
    trained = train(name, seed, progress)
    corpus = corpus_of(trained.recipe)
    parameters = sum(p.numel() for p in trained.model.parameters())
    language = corpus.target_language if recipe.corpus in REAL else None
    searches = None
    if recipe.beam_size > 1 and language is not None:
        searches = compare_searches(trained, corpus.valid, language)
    result = {
        "name": name,
        "seed": seed,
        "command": f"python -m s2s_lib reproduce {name} --seed {seed}",
        "recipe": asdict(recipe),
        "corpus_fingerprint": corpus.fingerprint(),
        "commit": commit,
        "versions": {
            "python": platform.python_version(),
            **{p: version(p) for p in _PACKAGES},
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} thread(s), "
        f"{torch.backends.cpu.get_cpu_capability()}",
        "training_seconds": trained.history[-1]["seconds"],
        "seconds": time.perf_counter() - began,
        "parameters": parameters,
        "history": trained.history,
        "searches": searches,
        "metrics": evaluate(
            trained,
            corpus.test,
            language,
            beam_size=recipe.beam_size,
            length_penalty=recipe.length_penalty,
        ),
    }
    return write_results(f"{name}-seed{seed}", result)


def write_results(name: str, content: dict[str, Any]) -> Path:
    """Write what was measured, whole or not at all, and say where.

    Args:
        name: of the file in `results_dir()`, without ".json".
        content: what JSON can hold; its numbers are `rounded`.

    Raises:
        OSError: if the folder cannot be written.
    """
    path = results_dir() / f"{name}.json"
    text = json.dumps(rounded(content), indent=1, ensure_ascii=False)
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        temporary.write_text(text + "\n", encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def rounded(value: Any) -> Any:
    """Six significant digits: what is beyond differs between machines.

    What JSON does not know, NaN and infinity, becomes None.
    """
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


def _commit() -> str:
    """The commit of the checkout, with + if it has changes; or unknown."""
    here = Path(__file__)

    def git(*command: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here.parent), *command],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    try:
        # An installed copy may lie in a checkout of something else.
        git("ls-files", "--error-unmatch", here.name)
        dirty = git("status", "--short", ".")
        return git("rev-parse", "HEAD")[:12] + ("+" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def load_results(name: str) -> list[dict[str, Any]]:
    """The results files of a recipe, one per seed, by rising seed.

    Raises:
        FileNotFoundError: if there is none, with the command to make one.
    """
    paths = results_dir().glob(f"{name}-seed*.json")
    results = [json.loads(p.read_text(encoding="utf-8")) for p in paths]
    if not results:
        raise FileNotFoundError(
            f"there is no results file of {name!r} in {results_dir()}; "
            f"make one with: python -m s2s_lib reproduce {name} --seed 0"
        )
    return sorted(results, key=lambda result: result["seed"])
