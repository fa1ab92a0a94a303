"""One of several processes of a small run: `python -m tests.align.part <backbone> <work> <params as JSON>`."""

import json
import sys
from pathlib import Path

from rporec.align.together import join
from tests.align import runs

if __name__ == "__main__":
    backbone, work, changes = sys.argv[1:]
    join("cpu")
    runs.run(Path(backbone), Path(work), runs.small(**json.loads(changes)))
