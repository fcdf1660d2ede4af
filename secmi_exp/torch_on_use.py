"""torch for modules that a run imports even where it computes nothing: it is loaded with its first use.

``torch_on_use.pyi`` gives both names their types. At run time `Tensor` stands in annotations alone; a module that has
``torch.device`` in one puts off their evaluation with ``from __future__ import annotations``.
"""

from typing import Any

from secmi_exp.deferred import DeferredModule

Tensor = Any
torch = DeferredModule("torch")
