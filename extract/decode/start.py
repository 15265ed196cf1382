"""Start a decoder's module as a process: `python -m stepcli.extract.decode.start MODULE PIPE ...`.

A package that does not load, or a wrong setting, is no video's fault: it is reported over the pipe
as {"fatal": reason}, and ends the run. Light, so that imports of the module fail inside `main`.
"""

import json
import os
import sys
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection

from stepcli.runtime.errors import StepcliError
from stepcli.runtime.extras import failed_import


def main() -> None:
    """Run the module's own `main`, with the arguments that follow its name."""
    module = sys.argv.pop(1)
    spare = Connection(os.dup(int(sys.argv[1])))  # the module closes its own
    try:
        import_module(module).main()
    except Exception as error:
        reason = str(error) if isinstance(error, StepcliError) else failed_import(error)
        if reason is None:
            raise
        with suppress(OSError):  # nobody listens any more
            spare.send_bytes(json.dumps({"fatal": reason}).encode())
        sys.exit(1)


if __name__ == "__main__":
    main()
