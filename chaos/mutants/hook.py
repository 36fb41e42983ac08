"""An import hook that compiles one module from patched source."""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import CodeType, ModuleType

from chaos.mutants.mutant import Mutant


class PatchDoesNotFit(Exception):
    """The text to be replaced does not occur exactly once."""


def patched_source(mutant: Mutant) -> str:
    """Return the module's source with the bug in it.

    Raises:
        PatchDoesNotFit: The product has changed and the mutant has not.
    """
    # Found by path, not imported: importing a parent would load what is to be patched.
    spec = importlib.util.find_spec(mutant.module.partition(".")[0])
    assert spec is not None, f"{mutant.module} cannot be found"
    assert spec.origin is not None, f"{mutant.module} has no source"
    path = Path(spec.origin).parent.joinpath(*mutant.module.split(".")[1:])
    source = path.with_suffix(".py").read_text()
    for old, new in mutant.changes:
        if source.count(old) != 1:
            raise PatchDoesNotFit(
                f"mutant {mutant.name!r}: the text occurs {source.count(old)} times in "
                f"{mutant.module}:\n{old}"
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
    """Finds one module, patched."""

    def __init__(self, mutant: Mutant) -> None:
        self._module = mutant.module
        self._source = patched_source(mutant)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the patched module's spec; None for every other module."""
        if fullname != self._module:
            return None
        found = PathFinder.find_spec(fullname, path, target)
        assert found is not None, f"{fullname} cannot be found"
        assert found.origin is not None, f"{fullname} has no source"
        found.loader = _MutantLoader(compile(self._source, found.origin, "exec"))
        return found


def install(mutant: Mutant) -> None:
    """Patch ``mutant``'s module from now on; it must not be imported yet."""
    assert mutant.module not in sys.modules, f"{mutant.module} is imported already"
    sys.meta_path.insert(0, MutantFinder(mutant))
