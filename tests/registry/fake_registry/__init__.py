"""A registry in this process that can play the others, and fails on demand.

`FakeRegistry(style=…)` plays one of `PROFILES`, each by what is known of how that registry behaves; `on` puts one of
the `actions` in the way of chosen requests, which the `api` then answers in that way or not at all.
"""

from __future__ import annotations

from fake_registry.actions import (
    Action,
    answer,
    break_off,
    change,
    error,
    lose_answer,
    reset_at,
    shortened,
    silent,
    talk,
)
from fake_registry.handler import Handler
from fake_registry.profiles import PROFILES, Profile
from fake_registry.registry import FakeRegistry, GoneError, Reply, Seen, Session
from fake_registry.tokens import IDENTITY_TOKEN, PASSWORD, USER

__all__ = [
    "IDENTITY_TOKEN",
    "PASSWORD",
    "PROFILES",
    "USER",
    "Action",
    "FakeRegistry",
    "GoneError",
    "Handler",
    "Profile",
    "Reply",
    "Seen",
    "Session",
    "answer",
    "break_off",
    "change",
    "error",
    "lose_answer",
    "reset_at",
    "shortened",
    "silent",
    "talk",
]
