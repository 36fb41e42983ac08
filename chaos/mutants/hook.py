"""An import hook that compiles modules from patched source."""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import CodeType, ModuleType

from chaos.mutants.mutant import Changes, Mutant


class PatchDoesNotFit(Exception):
    """The text to be replaced does not occur exactly once."""


def patched_sources(mutant: Mutant) -> dict[str, str]:
    """Return the sources of the mutant's modules with the bug in them.

    Raises:
        PatchDoesNotFit: The product has changed and the mutant has not.
    """
    return {
        module: _patched(module, changes, mutant.name) for module, changes in mutant.parts.items()
    }


def _patched(module: str, changes: Changes, name: str) -> str:
    # Found by path, not imported: importing a parent would load what is to be patched.
    spec = importlib.util.find_spec(module.partition(".")[0])
    assert spec is not None, f"{module} cannot be found"
    assert spec.origin is not None, f"{module} has no source"
    path = Path(spec.origin).parent.joinpath(*module.split(".")[1:])
    source = path.with_suffix(".py").read_text()
    for old, new in changes:
        if source.count(old) != 1:
            raise PatchDoesNotFit(
                f"mutant {name!r}: the text occurs {source.count(old)} times in {module}:\n{old}"
            )
        source = source.replace(old, new)
    return source


class _MutantLoader(Loader):
    """Executes the patched source in the place of the real one."""

    def __init__(self, code: CodeType) -> None:
        self._code = code

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        exec(self._code, module.__dict__)


class MutantFinder(MetaPathFinder):
    """Finds a mutant's modules, patched."""

    def __init__(self, mutant: Mutant) -> None:
        self._sources = patched_sources(mutant)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module that is patched; None for every other one."""
        source = self._sources.get(fullname)
        if source is None:
            return None
        found = PathFinder.find_spec(fullname, path, target)
        assert found is not None, f"{fullname} cannot be found"
        assert found.origin is not None, f"{fullname} has no source"
        found.loader = _MutantLoader(compile(source, found.origin, "exec"))
        return found


def install(mutant: Mutant) -> None:
    """Patch the mutant's modules from now on; none of them may be imported yet."""
    for module in mutant.parts:
        assert module not in sys.modules, f"{module} is imported already"
    sys.meta_path.insert(0, MutantFinder(mutant))
