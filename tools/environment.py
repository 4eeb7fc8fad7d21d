"""The environment in which chapters run, in the tests as in the tool."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

SETTINGS = {
    # One thread: the same order of sums, hence the same digits, everywhere.
    "OMP_NUM_THREADS": "1",
    # Progress bars carry timings; readers see them, stored outputs do not.
    "TQDM_DISABLE": "1",
    # Figures are drawn for the page, not for a window.
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    # Sources are hashed in sets: the same order in every run.
    "PYTHONHASHSEED": "0",
    # Breakpoints of the debugger cannot be had with frozen modules.
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    # Trained models are kept per checkout, not in the user's home.
    "S2S_CACHE_DIR": str(ROOT / ".cache"),
}


def prepare() -> None:
    """Set what is not set already."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
