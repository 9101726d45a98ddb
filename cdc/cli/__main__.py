"""`python -m cdc.cli` is `datong`."""

from cdc.cli import main

raise SystemExit(main())
