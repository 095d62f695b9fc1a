"""`python -m medlora`: the process edge of the command line, where errors become exit codes."""

from __future__ import annotations

import os
import sys
import traceback


def main() -> None:
    """Run the command line. Exits 0 done, 2 wrong input, 3 a failed run, 1 a bug."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from medlora.cli.root import cli
    from medlora.errors import ConfigError, RunFailedError, UserError, explain_disk

    try:
        cli()
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        sys.exit(2)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except RunFailedError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:  # noqa: BLE001 - the process edge: a bug is shown whole and ends with 1
        if (told := explain_disk(error)) is not None:
            print(told, file=sys.stderr)
            sys.exit(2)
        traceback.print_exc()
        print("This is a bug in medlora. Please report it with the lines above.", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
