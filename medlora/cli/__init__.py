"""The command line: every verb of the page, printed for people or, with --json, for scripts.

Exit codes: 0 done, 2 the input is wrong (each problem on stderr, one a line), 3 a run failed, 1 a bug.
"""
