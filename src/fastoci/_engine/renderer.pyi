from typing import Self, final

from typing_extensions import Buffer

from fastoci._engine.plan import Plan
from fastoci._engine.reader import FileReader

@final
class Renderer(FileReader):
    @property
    def plan(self) -> Plan: ...
    def __new__(cls, plan: Plan) -> Self: ...
    def render(self, number: int, buffer: Buffer) -> int: ...
