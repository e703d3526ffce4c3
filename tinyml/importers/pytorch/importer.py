# SPDX-License-Identifier: Apache-2.0
"""Turns a torch.nn.Module into ONNX bytes, which the one float importer reads."""

from __future__ import annotations

import importlib.util
import io
import logging
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tinyml.errors import ImportModelError, ToolMissingError

if TYPE_CHECKING:
    from torch import nn

OPSET = 21


def _torch() -> Any:
    try:
        import onnxscript  # noqa: F401
        import torch
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            f"PyTorch models need the Python package '{error.name}'",
            "Install the extra: pip install 'tinyml-toolchain[torch]'.",
        ) from None
    return torch


def load_module(spec: str) -> nn.Module:
    """The module a user points at.

    Args:
        spec: ``file.py:name`` where name is a module, a module class or a function that returns
            one, none taking arguments; or ``file.pt2``, a saved torch.export program.

    Raises:
        ImportModelError: the file, the name or the result is not what it should be.
    """
    torch = _torch()
    path_text, _, name = spec.partition(":")
    path = Path(path_text)
    if not path.is_file():
        raise ImportModelError(f"{path} does not exist")
    if path.suffix == ".pt2":
        try:
            program = torch.export.load(path)
        except Exception as error:
            raise ImportModelError(f"{path} is no torch.export program: {error}") from None
        return cast("nn.Module", program.module())
    if path.suffix != ".py" or not name:
        raise ImportModelError(
            f"'{spec}' names no PyTorch model",
            "Give FILE.py:FUNCTION, or FILE.pt2 saved by torch.export.save. Pickled .pt files "
            "can run any code on loading and are not read.",
        )
    value = getattr(_run_file(path), name, None)
    if value is None:
        raise ImportModelError(f"{path} defines no '{name}'")
    if not isinstance(value, torch.nn.Module):
        if not callable(value):
            raise ImportModelError(f"'{name}' in {path} is neither a module nor a function")
        value = value()
    if not isinstance(value, torch.nn.Module):
        raise ImportModelError(f"'{name}' in {path} gives a {type(value).__name__}, no nn.Module")
    return cast("nn.Module", value)


def _run_file(path: Path) -> Any:
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    assert module_spec is not None and module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.path.insert(0, str(path.resolve().parent))
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        raise ImportModelError(f"{path} does not run: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    return module


def module_to_onnx(
    module: nn.Module, input_shapes: Sequence[Sequence[int]], *, ids: bool = False
) -> bytes:
    """Exports a module in evaluation mode.

    Args:
        module: the model; its mode is set to evaluation.
        input_shapes: one static shape per input, batch size 1 first.
        ids: whether the inputs are int32 ids instead of float32 reals.

    Raises:
        ImportModelError: PyTorch cannot export the module.
    """
    torch = _torch()
    module = module.eval() if not hasattr(module, "graph") else module
    dtype = torch.int32 if ids else torch.float32
    examples = tuple(torch.zeros(tuple(s), dtype=dtype) for s in input_shapes)
    # The exporter logs and prints for its own developers.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module, examples, dynamo=True, opset_version=OPSET, verbose=False
            )
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise ImportModelError(
            f"PyTorch cannot export this model to ONNX: {reason[0] if reason else error!r}",
            "Data-dependent control flow and dynamic shapes cannot be compiled.",
        ) from error
    return bytes(program.model_proto.SerializeToString())
