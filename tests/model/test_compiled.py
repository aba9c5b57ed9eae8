"""A function that is compiled: all sizes by one program, and what is told where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from degflow_pipe.errors import DegflowError
from degflow_pipe.model.compiled import compiled


def stand_in(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A compiler that fails when the function is first called, as torch's does."""

    def compile_(function: Callable[..., Tensor], **how: Any) -> Callable[..., Tensor]:
        assert how == {"fullgraph": True, "dynamic": True}

        def run(*tensors: Tensor) -> Tensor:
            raise error

        return run

    monkeypatch.setattr(torch, "compile", compile_)


def test_what_cannot_be_compiled_is_told_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, TorchDynamoException("no C compiler\nand a long tale"))
    with pytest.raises(DegflowError, match=r"no C compiler\): mend that, or say `precision=float"):
        compiled(torch.sin)(torch.zeros(1))


def test_other_errors_are_what_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.OutOfMemoryError):
        compiled(torch.sin)(torch.zeros(1))
