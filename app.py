"""Start medlora: `python app.py`, then open the address it prints. A Space starts it the same way."""

import os

if os.environ.get("SPACES_ZERO_GPU"):
    import spaces  # noqa: F401 - before anything that may touch CUDA

from medlora.space.settings import is_space

if __name__ == "__main__":
    if is_space():
        from medlora.space.launch import main
    else:
        from medlora.ui.launch import main
    main()
