"""Studies import one another's helpers as scripts do: from the folder they lie in."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "scripts" / "studies"))
