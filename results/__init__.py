"""The results files, installed as the package ``s2s_lib.results``."""
