from typing import Self, final

from fastoci._engine.plan import Plan

@final
class ReadAhead:
    @property
    def plan(self) -> Plan: ...
    def __new__(cls, plan: Plan) -> Self: ...
    def run(self) -> int: ...
