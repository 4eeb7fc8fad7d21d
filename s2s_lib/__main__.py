"""`python -m s2s_lib`: see `s2s_lib.cli`."""

from s2s_lib.cli import main

raise SystemExit(main())
