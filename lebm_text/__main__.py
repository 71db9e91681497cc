"""`python -m lebm_text` is `lebm-text`."""

from __future__ import annotations

import sys

from lebm_text.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
