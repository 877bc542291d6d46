"""Seeded text: words by Zipf's law in lines of a few forms, many of which come back a little changed, as in sources."""

from __future__ import annotations

import itertools
import random

__all__ = ["JAVASCRIPT", "JSON", "PROSE", "PYTHON", "C", "Words", "text", "zipf"]

_SYLLABLES = (
    "ab ac ad al am an ap ar as at au ba be bi bo bu ca ce ch ci co con cor cu da de di do du ed el em en er es ex fa "
    "fe fi fo fu ga ge gi go gra ha he hi ho id il im in int ir is it ja jo ka ke la le li lo lu ma me mi mo mu na ne "
    "ni no nu ob of on op or ou pa pe per pi po pre pro qu ra re ri ro ru sa se sh si so st str su ta te ter th ti "
    "tion to tr tu ty un up ur us va ve ver vi vo wa we wi xi ya ze"
)


class Words:
    """A vocabulary whose words are drawn as often as Zipf's law says."""

    def __init__(self, rng: random.Random, count: int) -> None:
        self._rng = rng
        syllables = _SYLLABLES.split()
        words: dict[str, None] = {}
        while len(words) < count:
            words["".join(rng.choice(syllables) for _ in range(rng.choice((1, 2, 2, 2, 3, 3, 4))))] = None
        self._words = list(words)
        self._weights = zipf(count, 2)
        self._drawn: list[str] = []

    def __call__(self) -> str:
        if not self._drawn:
            self._drawn = self._rng.choices(self._words, cum_weights=self._weights, k=8192)
        return self._drawn.pop()


def zipf(count: int, flatness: float) -> list[float]:
    return list(itertools.accumulate(1 / (rank + flatness) for rank in range(count)))


PYTHON = (
    "        self.{} = {}\n",
    "    def {}(self, {}, {}={}):\n",
    "        return {}.{}({})\n",
    "        if {} is None:\n",
    "            {} = {}[{}]\n",
    "\n",
    '        """{} {} {} the {} of {} {}."""\n',
    "        for {} in {}.{}():\n",
    '            raise ValueError("{} {} {}: %s" % {})\n',
    "    # {} {} {} {} {} {} {}\n",
    "from {}.{} import {}, {}\n",
    "class {}({}):\n",
    "        {}, {} = {}({}.{}, {}={})\n",
    "            {}.append(({}, {}.{}))\n",
    "        try:\n",
    "        assert {} == {}, {}\n",
    "            with {}({}, '{}') as {}:\n",
    "    {} {} {} {} {} {} {} {} {}\n",
    "        elif {} not in {} and {}.{} > 0:\n",
    "    :param {}: {} {} {} {} {}\n",
    "{} = {{'{}': {}, '{}': '{}'}}\n",
)
JAVASCRIPT = (
    "  const {} = {}.{}({});\n",
    "  return {}({}, {} => {}.{});\n",
    "    if ({}.{} === '{}') {{\n",
    "  }}\n",
    "/**\n * {} {} {} {} {} {}.\n",
    "  function {}({}, {}) {{\n",
    "    var {} = {}.{}.{};\n",
    "exports.{} = {};\n",
    "    {}.{}({}[{}], '{}');\n",
    "\n",
    "  // {} {} {} {} {}\n",
    "    throw new Error('{} {} {} ' + {});\n",
    " * @param {{{}}} {} {} {} {}\n",
    "      {}: {},\n",
    "    for (let {} = 0; {} < {}.length; {}++) {{\n",
    "import {{ {}, {} }} from './{}/{}';\n",
    "      }} else if ({} && !{}.{}) {{\n",
    "  {}.prototype.{} = function ({}) {{\n",
)
JSON = (
    '      "{}": "{}-{}",\n',
    '      "{}": {{\n',
    "      }},\n",
    '        "{}": ["{}", "{}"],\n',
    '        "{}": true,\n',
    '        "{}": "https://{}.{}.org/{}/{}.tgz",\n',
    '        "{}": null,\n',
    '    "{}": "^1.{}",\n',
)
C = (
    "#define {}_{}_{} 0x{}\n",
    "extern int {}_{}({} *{}, const {} *{});\n",
    "    {} {}_{};\n",
    "/* {} {} {} {} {} {} {} */\n",
    "struct {}_{} {{\n",
    "}};\n",
    "\n",
    "static inline {} {}({} {}, int {})\n",
    "#ifndef {}_{}_H\n",
    "    return {}->{}_{};\n",
    " * {} {} {} the {} {} {} of {}\n",
    "#endif\n",
    "typedef {} (*{}_{})({} *, {});\n",
)
PROSE = (
    "{} {} {} the {} {} of {} {} and {} {} {}\n",
    "{} {} {}, {} {} {} {} {} {} {} {}.\n",
    "\n",
    "   {} {} {} {} to {} {} a {} {}\n",
    '<p>{} {} {} <a href="{}/{}.html">{}</a> {} {}</p>\n',
    "  * {}: {} {} {} {} {} {}\n",
    "{} ({}) {} is {} {} {} in {} {}; {} {} {} {}\n",
)


def text(rng: random.Random, size: int, forms: tuple[str, ...], *, again: float, reach: int, local: float) -> bytes:
    """Return text of lines.

    Args:
        rng: Where chance comes from.
        size: Bytes.
        forms: The lines there are, the most frequent first.
        again: The chance that a run of earlier lines returns, each changed in a word or not at all.
        reach: How many lines back such a run may lie.
        local: How many of the words belong to the few that the piece is about.
    """
    chance = rng.random
    words = Words(rng, 6000)
    topic = [words() for _ in range(40)]
    gaps = [form.count("{}") for form in forms]
    weights = zipf(len(forms), 1.5)
    drawn: list[int] = []
    recent: list[tuple[int, list[str]]] = []
    out: list[str] = []
    distance = written = 0
    while written < size:
        if recent and (0 < distance <= len(recent) or chance() < again):
            if not 0 < distance <= len(recent):
                distance = int(chance() * min(reach, len(recent))) + 1
            form, filling = recent[-distance]
            if chance() < 0.4:
                distance = 0
            if filling and chance() < 0.6:
                filling = list(filling)
                filling[int(chance() * len(filling))] = topic[int(chance() * 40)] if chance() < local else words()
        else:
            if not drawn:
                drawn = rng.choices(range(len(forms)), cum_weights=weights, k=4096)
            form = drawn.pop()
            filling = [topic[int(chance() * chance() * 40)] if chance() < local else words() for _ in range(gaps[form])]
        if chance() < 0.02:
            topic[int(chance() * 40)] = words()
        recent.append((form, filling))
        if len(recent) > 2 * reach:
            del recent[:reach]
        line = forms[form].format(*filling)
        out.append(line)
        written += len(line)
    return "".join(out).encode()[:size]
