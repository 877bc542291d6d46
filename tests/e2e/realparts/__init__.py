"""Real registries, engines and readers for the end-to-end tests: found on PATH, started once, stopped by their own pid.

Where a part is missing the tests that need it are skipped with the name of the Debian package that has it. In CI, which
installs them all and says so by `FASTOCI_REQUIRE_REAL_PARTS=1`, a missing part is a failure.
"""
