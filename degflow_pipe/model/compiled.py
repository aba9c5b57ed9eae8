"""Functions of networks compiled for a GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from degflow_pipe.errors import DegflowError

VARIANTS = 64
"""Of one function in a process: sizes that share a program are one, a single picture is another."""
_COMPILERS = ("torch._dynamo", "torch._inductor", "triton")


def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function as one program for all sizes; never the uncompiled one, whose bytes differ.

    Raises DegflowError where it cannot be compiled here.
    """
    import torch._dynamo.config as dynamo

    name = "recompile_limit" if hasattr(dynamo, "recompile_limit") else "cache_size_limit"
    setattr(dynamo, name, max(getattr(dynamo, name), VARIANTS))
    made = torch.compile(function, fullgraph=True, dynamic=True)

    def run(*tensors: Tensor) -> Tensor:
        try:
            return made(*tensors)
        except Exception as error:  # each compiler has errors of its own, without a common class
            modules = [kind.__module__ for kind in type(error).__mro__]
            if not any(module.startswith(_COMPILERS) for module in modules):
                raise
            line = str(error).strip().partition("\n")[0][:200]
            raise DegflowError(
                f"the decoder cannot be compiled for this GPU ({type(error).__name__}: {line}): "
                f"mend that, or say `precision=float32`"
            ) from error

    return run
