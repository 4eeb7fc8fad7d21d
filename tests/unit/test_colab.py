"""Installing the library on Colab replaces nothing that is there."""

import tomllib
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
COLAB_PYTHON = "3.13"
# What the setup cell may add. Anything else would be a new dependency.
ADDED = {
    "colorama", "jaxtyping", "portalocker", "sacrebleu", "sacremoses",
    "wadler-lindig",
}  # fmt: skip


def read_preinstalled() -> dict[str, str]:
    path = ROOT / "tests" / "colab-constraints.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


PREINSTALLED = read_preinstalled()


def project() -> dict:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["project"]


def needed(lines: list[str]) -> Iterator[Requirement]:
    """Give the requirements that hold on Colab."""
    environment = {
        "extra": "",
        "python_version": COLAB_PYTHON,
        "python_full_version": f"{COLAB_PYTHON}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
    }
    for line in lines:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or marker.evaluate(environment):
            yield requirement


def install(lines: list[str]) -> tuple[set[str], list[str]]:
    """Give the packages that an install adds, and those it would replace."""
    added: set[str] = set()
    replaced: list[str] = []
    queue = [(requirement, "s2s_lib") for requirement in needed(lines)]
    while queue:
        requirement, wanted_by = queue.pop()
        name = canonicalize_name(requirement.name)
        if name in PREINSTALLED:
            version = PREINSTALLED[name]
            if not requirement.specifier.contains(version):
                replaced.append(f"{wanted_by}: {requirement}, has {version}")
        elif name not in added:
            added.add(name)
            queue += [(r, name) for r in needed(requires(name) or [])]
    return added, replaced


def test_the_install_adds_six_packages_and_replaces_none():
    added, replaced = install(project()["dependencies"])
    assert replaced == []
    assert added == ADDED


def test_colab_has_a_supported_python():
    assert SpecifierSet(project()["requires-python"]).contains(COLAB_PYTHON)


@pytest.mark.parametrize(
    "line",
    ["numpy>=2.4", "torch==2.13.0", "matplotlib<3.10", "tqdm>=4.68"],
)
def test_a_range_that_is_too_narrow_is_found(line):
    _, replaced = install([*project()["dependencies"], line])
    assert len(replaced) == 1


def test_a_further_package_is_found():
    added, _ = install([*project()["dependencies"], "hypothesis"])
    assert "hypothesis" in added - ADDED


@pytest.mark.parametrize("name", ["accelerate", "tokenizers", "pandas"])
def test_packages_of_later_parts_are_listed(name):
    assert name in PREINSTALLED
