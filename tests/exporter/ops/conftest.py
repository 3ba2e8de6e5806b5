"""Makes `single.py` importable, and gives each test a folder for its files."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
