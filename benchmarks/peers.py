"""Import D2L's library without what it needs for its other chapters.

D2L 1.0.3 imports torchvision (images) and SciPy (Gaussian processes) at the
top; no measurement here touches either, so where one is missing an empty
module stands in for it.
"""

import sys
from importlib.util import find_spec
from types import ModuleType

_UNUSED = {
    "torchvision": ("transforms",),
    "scipy": ("spatial",),
}


def import_d2l() -> ModuleType:
    """The module `d2l.torch`.

    Raises:
        ModuleNotFoundError: if d2l is not installed (`make setup` does it).
    """
    for name, parts in _UNUSED.items():
        if name in sys.modules or find_spec(name) is not None:
            continue
        sys.modules[name] = stand_in = ModuleType(name)
        for part in parts:
            module = ModuleType(f"{name}.{part}")
            module.distance_matrix = None
            setattr(stand_in, part, module)
            sys.modules[f"{name}.{part}"] = module
    from d2l import torch as d2l

    return d2l
