"""Writes a checkpoint as GGUF: ``python -m openwheel.inference.gguf FOLDER FILE PRECISION NAME``.

In a process of its own, since it takes torch and the memory of the weights.
"""

import sys
from pathlib import Path

from openwheel.errors import OpenwheelError


def main() -> int:
    """Write the file; return the exit status."""
    folder, target, precision, name = sys.argv[1:]
    try:
        from openwheel.inference.gguf import write_gguf  # noqa: PLC0415 - seconds of imports

        write_gguf(Path(folder), Path(target), precision=precision, name=name)
    except ImportError as error:
        sys.stderr.write(
            f"openwheel: Making a GGUF file needs the extra `lm` (pip install 'openwheel[lm]'): "
            f"{error}\n"
        )
        return 2
    except (OpenwheelError, OSError) as error:
        sys.stderr.write(f"openwheel: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
