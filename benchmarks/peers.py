"""Import the peers without what they need for their other work.

D2L 1.0.3 imports torchvision (images) and SciPy (Gaussian processes) at the
top, JoeyNMT 2.3 imports SentencePiece, subword-nmt and TensorBoard; no
measurement here touches any of these, so where one is missing an empty
module stands in for it.
"""

import logging
import sys
from importlib.util import find_spec
from types import ModuleType

# By package: its modules that are imported, and what is taken from each.
_D2L = {
    "torchvision": {"torchvision": ["transforms"]},
    "scipy": {"scipy": ["spatial"], "scipy.spatial": ["distance_matrix"]},
}
_JOEYNMT = {
    "sentencepiece": {"sentencepiece": []},
    "subword_nmt": {"subword_nmt": ["apply_bpe"]},
    "tensorboard": {"torch.utils.tensorboard": ["SummaryWriter"]},
}


def _stand_in(packages: dict[str, dict[str, list[str]]]) -> None:
    for package, modules in packages.items():
        if next(iter(modules)) in sys.modules or find_spec(package):
            continue
        for name, parts in modules.items():
            sys.modules[name] = module = ModuleType(name)
            for part in parts:
                setattr(module, part, None)


def import_d2l() -> ModuleType:
    """The module `d2l.torch`.

    Raises:
        ModuleNotFoundError: if d2l is not installed (`make setup` does it).
    """
    _stand_in(_D2L)
    from d2l import torch as d2l

    return d2l


def import_joeynmt() -> ModuleType:
    """The package `joeynmt`, with its modules for models and search.

    Raises:
        ModuleNotFoundError: if joeynmt is not installed (`make setup` does
            it).
    """
    _stand_in(_JOEYNMT)
    import joeynmt
    import joeynmt.batch
    import joeynmt.builders
    import joeynmt.model
    import joeynmt.search

    # Or it says on standard error which optimizer it built.
    logging.getLogger("joeynmt.builders").setLevel(logging.WARNING)
    return joeynmt
