"""Makes the name `mico` resolve in `datasets`, and `mico_score` in `evaluate`, when `mico_hub` is imported.

`datasets` has no plug-in mechanism, so the functions that turn a name into a builder are wrapped. Other names, and
folders called so, go through untouched. `install` may be called twice; `uninstall` undoes it.

Both take seconds to import, so they are not imported here: they are wrapped when they are, or at once if they were.
"""

import functools
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from mico_hub.cache import writable
from mico_hub.suites import NAME

METRIC = "mico_score"
METRIC_FOLDER = Path(__file__).parent / "metrics" / METRIC

_Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


def _wrap_builder(original: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def load_dataset_builder(*args: Any, **kwargs: Any) -> Any:
        arguments = signature.bind(*args, **kwargs)
        values = arguments.arguments
        if values["path"] != NAME:
            return original(*args, **kwargs)
        from mico_hub import sources

        if values.get("name") is None:
            raise ValueError(
                f'expected a suite: load_dataset("{NAME}", SUITE). '
                f"Can be loaded now: {', '.join(sources.available())}; see `mico-hub suites` for all"
            )
        asked = values.pop("revision", None)
        values.update(sources.dataset(values["name"], str(asked) if asked else None))
        from datasets import config

        with writable(Path(config.HF_DATASETS_CACHE)):
            return original(*arguments.args, **arguments.kwargs)

    return load_dataset_builder


def _wrap_module(original: Callable[..., Any]) -> Callable[..., Any]:
    """For what lists configs: a module with a config for each suite that can be loaded."""

    @functools.wraps(original)
    def dataset_module_factory(path: str, *args: Any, **kwargs: Any) -> Any:
        if path != NAME:
            return original(path, *args, **kwargs)
        from datasets.load import BuilderConfigsParameters, DatasetModule
        from datasets.packaged_modules.parquet.parquet import ParquetConfig

        from mico_hub import sources

        configs = [ParquetConfig(name=name) for name in sources.available()]
        return DatasetModule(
            "datasets.packaged_modules.parquet.parquet",
            hash=NAME,
            builder_kwargs={"dataset_name": NAME},
            builder_configs_parameters=BuilderConfigsParameters(builder_configs=configs),
        )

    return dataset_module_factory


def _wrap_metric(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def evaluation_module_factory(path: str, *args: Any, **kwargs: Any) -> Any:
        if path != METRIC or Path(METRIC).is_dir():
            return original(path, *args, **kwargs)
        from evaluate import config

        with writable(Path(config.HF_MODULES_CACHE)):
            return original(str(METRIC_FOLDER), *args, **kwargs)

    return evaluation_module_factory


_TARGETS: tuple[tuple[str, str, _Wrap], ...] = (
    ("datasets.load", "load_dataset_builder", _wrap_builder),
    ("datasets", "load_dataset_builder", _wrap_builder),
    ("datasets.inspect", "load_dataset_builder", _wrap_builder),
    ("datasets.inspect", "dataset_module_factory", _wrap_module),
    ("evaluate.loading", "evaluation_module_factory", _wrap_metric),
    ("evaluate.inspect", "evaluation_module_factory", _wrap_metric),
)
_originals: dict[Callable[..., Any], Callable[..., Any]] = {}
"""Our wrapper -> what it wraps."""


def install() -> None:
    """Wraps the functions, at once or when their module is imported; does nothing if they are wrapped already."""
    for module in dict.fromkeys(module for module, _, _ in _TARGETS):
        _wrap_functions_of(module)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


def uninstall() -> None:
    """Puts the functions back as they were; does nothing if they are not wrapped."""
    for module, name, _ in _TARGETS:
        current = getattr(sys.modules.get(module), name, None)
        if current in _originals:
            setattr(sys.modules[module], name, _originals[current])
    _originals.clear()
    if _FINDER in sys.meta_path:
        sys.meta_path.remove(_FINDER)


def _wrap_functions_of(module: str) -> None:
    for target, name, wrap in _TARGETS:
        current = getattr(sys.modules.get(target), name, None)
        if target == module and current is not None and current not in _originals:
            wrapped = wrap(current)
            _originals[wrapped] = current
            setattr(sys.modules[module], name, wrapped)


class _WrapOnImport(MetaPathFinder):
    """Finds a module as everyone else does, and wraps its functions once it is executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _MODULES:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            sys.meta_path.insert(0, self)
        if spec is None or spec.loader is None:
            return None
        spec.loader = _WrappingLoader(spec.loader)
        return spec


class _WrappingLoader(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _wrap_functions_of(module.__name__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)  # inspect asks the loader for the source


_MODULES = frozenset(module for module, _, _ in _TARGETS)
_FINDER = _WrapOnImport()
