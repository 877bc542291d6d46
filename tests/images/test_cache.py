"""The cache of base layers: what nobody uses goes."""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest

from fastoci.images.cache import open_cache
from imagekit import GZIP


def test_what_nobody_used_for_a_month_goes(tmp_path):
    with ExitStack() as stack:
        cache = open_cache(stack, pytest.fail, str(tmp_path / "cache"))
        old = cache.put_blob(b"old", GZIP)
        os.utime(cache.blob_path(old.digest), (0, 0))
        # Somebody is at work.
        open_cache(stack, pytest.fail, str(tmp_path / "cache"))
        assert cache.has_blob(old.digest)
        cache.discard()
    del cache
    with ExitStack() as stack:
        cache = open_cache(stack, pytest.fail, str(tmp_path / "cache"))
        assert not cache.has_blob(old.digest)
