"""The parts of a split tree, packed at once: the largest first, so that none is alone in the end."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from fastoci.ending import Ending
from fastoci.parallel import StoppedError, run_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastoci.layer.pack import PackedLayer
    from fastoci.layer.split import Part, SplitTree
    from fastoci.layer.workforce import Workforce

__all__ = ["pack_parts"]

_BLOCKS_TIME = 5.0  # seconds in which every pipeline has ended that was stopped: none takes so long for a block


class _Waited(Ending):
    """Whose pipelines have ended when it is left: what they read is let go of then."""

    def __init__(self, workforce: Workforce) -> None:
        self._workforce = workforce

    def end(self) -> None:
        """Wait for them, which may be told to stop, and are not waited for without end."""
        self._workforce.wait(_BLOCKS_TIME)


def pack_parts(
    tree: SplitTree, pack: Callable[[Part], PackedLayer], on_stop: Callable[[], None] = lambda: None
) -> list[PackedLayer]:
    """Pack every part of a tree, and return the layers, lowest first.

    The first that fails, or an interruption, ends them all.

    Args:
        tree: The tree.
        pack: Packs one part, in a thread.
        on_stop: Called when all are to end, to wake those that wait for something else than a block.

    Raises:
        BaseException: The first failure of one.
    """
    order = list(tree.parts)
    if tree.workforce.at_once > 1:
        order.sort(key=tree.size, reverse=True)

    def stop() -> None:
        tree.workforce.stop(StoppedError())
        on_stop()

    with _Waited(tree.workforce):
        packed = run_all(
            [partial(pack, part) for part in order], jobs=tree.workforce.at_once, stop=threading.Event(), on_stop=stop
        )
    layers = dict(zip(order, packed, strict=True))
    return [layers[part] for part in tree.parts]
