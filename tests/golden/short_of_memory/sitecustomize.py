"""Makes a worker run out of memory, for tests: first on PYTHONPATH, python imports this by itself.

MOST_ROWS: a backward pass fails in a run whose setup takes more rows at a time than that.
"""

import json
import os
import sys
from pathlib import Path

if "medlora.training.worker" in sys.orig_argv:
    import torch
    from accelerate import Accelerator

    plain = Accelerator.backward

    def backward(self: Accelerator, loss: torch.Tensor, **settings: object) -> None:
        setup = json.loads((Path(sys.argv[1]) / "setup.json").read_text(encoding="utf-8"))
        if setup["micro_batch"] > int(os.environ["MOST_ROWS"]):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        plain(self, loss, **settings)

    Accelerator.backward = backward
