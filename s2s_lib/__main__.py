"""`python -m s2s_lib`: see `s2s_lib.cli`."""

try:
    from s2s_lib.cli import main
except KeyboardInterrupt:  # importing PyTorch takes seconds
    raise SystemExit(130) from None

raise SystemExit(main())
