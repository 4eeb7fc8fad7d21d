"""Disks that are full and folders that may not be written, for a moment."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest


@pytest.fixture
def full_disk():
    """A limit on the size of files stands in for the end of the disk."""
    resource = pytest.importorskip("resource", reason="needs Unix")

    @contextmanager
    def full_disk(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return full_disk


@pytest.fixture
def others_folder():
    """A folder that all may reach, unlike those of `tmp_path`."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def read_only():
    """A folder is read-only; root may write anywhere, and is nobody."""

    @contextmanager
    def read_only(folder):
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        folder.chmod(0o555)
        if root:
            os.seteuid(65534)
        try:
            yield
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)

    return read_only
