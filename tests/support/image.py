"""What the container image is made of: its Dockerfile, and what ``.dockerignore`` lets through to it.

Owns the little that our two files use of Docker's rules. Does not own what is in the packages.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

_PINNED_PYTHON = re.compile(r"python:3\.\d+\.\d+-slim-\w+")
_UNPACKED = ("__pycache__", ".pyc")


@dataclass(frozen=True, slots=True)
class Image:
    """The two files as text, so that a test can plant a fault."""

    root: Path
    dockerfile_text: str
    ignore_text: str

    @classmethod
    def of(cls, root: Path) -> Image:
        """Read them."""
        return cls(
            root,
            (root / "deploy" / "docker" / "Dockerfile").read_text(encoding="utf-8"),
            (root / ".dockerignore").read_text(encoding="utf-8"),
        )

    def copied(self) -> list[str]:
        """Return what is copied from the build context."""
        lines = re.findall(r"^COPY (?!--from)(.+)$", self.dockerfile_text, re.MULTILINE)
        return [source for line in lines for source in line.split()[:-1]]

    def lets_through(self, path: str) -> bool:
        """Tell whether a file gets to the build: the last line that matches it or a directory above it decides."""
        parts = PurePosixPath(path).parts
        places = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        through = True
        for line in self.ignore_text.splitlines():
            pattern = line.strip()
            if pattern and not pattern.startswith("#"):
                wanted = pattern.removeprefix("!")
                tail = wanted.removeprefix("**/")
                names = (place.split("/")[-1] if tail != wanted else place for place in places)
                if any(fnmatch(name, tail) and name.count("/") == tail.count("/") for name in names):
                    through = pattern.startswith("!")
        return through


def top_level_packages(root: Path) -> list[str]:
    """Return the packages that ``pyproject.toml`` names and that are there."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["packages"]["find"]["include"]
    return sorted(
        path.parent.name
        for path in root.glob("*/__init__.py")
        if any(fnmatch(path.parent.name, pattern) for pattern in patterns)
    )


def package_files(root: Path) -> Iterator[str]:
    """Yield the files of all packages: code, and whatever lies beside it."""
    for package in top_level_packages(root):
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and not any(part in str(path) for part in _UNPACKED):
                yield path.relative_to(root).as_posix()


def check_image(image: Image) -> list[str]:
    """Return what of the packages, or of what builds them, does not get into the image."""
    copied = image.copied()
    bases = re.findall(r"^FROM (\S+)", image.dockerfile_text, re.MULTILINE)
    faults = [f"{base} is not pinned" for base in bases if not _PINNED_PYTHON.fullmatch(base)]
    faults += [f"there is no {source} to copy" for source in copied if not (image.root / source).exists()]
    wanted = [*package_files(image.root), "pyproject.toml", "README.md", "LICENSE", "requirements.lock"]
    for path in wanted:
        if not any(path == source or path.startswith(source.rstrip("/") + "/") for source in copied):
            faults.append(f"{path} is not copied")
        elif not image.lets_through(path):
            faults.append(f".dockerignore keeps {path} out")
    return faults


def build_wheel(image: Image, directory: Path) -> set[str]:
    """Build the wheel of what the image copies, as its Dockerfile does, and return the names in it."""
    context = directory / "context"
    for source in image.copied():
        origin = image.root / source
        if origin.is_dir():
            shutil.copytree(origin, context / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            context.mkdir(parents=True, exist_ok=True)
            shutil.copy(origin, context / source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--no-index", "-w", str(directory), "."], cwd=context, check=True)
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())
