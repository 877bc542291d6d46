# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""Exclude patterns over raw paths: a matcher that never backtracks and makes no Python object.

What a pattern means is decided where it is translated into tokens (fastoci.tree.patterns); here they are run. Every
token is a state of a nondeterministic automaton, and all states are stepped together over the code points of a path,
so that the time is bounded by path times pattern whatever the pattern. A byte that is not UTF-8 counts as one code
point of its own, 0xDC00 plus the byte.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from fastoci._engine.pattern cimport Pattern, Program, Token

cdef enum Op:
    OP_LITERAL = 0          # this code point
    OP_ANY = 1              # one code point, not a slash
    OP_STAR = 2             # any number of them
    OP_ALL = 3              # anything at all
    OP_TAIL = 4             # anything without a newline
    OP_DIRECTORIES = 5      # nothing, or what OP_DIRECTORIES_LOOP matches
    OP_DIRECTORIES_LOOP = 6  # anything without a newline up to a slash; always follows OP_DIRECTORIES
    OP_CLASS = 7            # one code point in the ranges
    OP_CLASS_NOT = 8        # one code point outside them

OPS = {
    "literal": OP_LITERAL,
    "any": OP_ANY,
    "star": OP_STAR,
    "all": OP_ALL,
    "tail": OP_TAIL,
    "directories": OP_DIRECTORIES,
    "class": OP_CLASS,
    "class_not": OP_CLASS_NOT,
}


cdef inline uint32_t _decode(const uint8_t *data, size_t size, size_t *used) noexcept nogil:
    """Return the code point at `data`, of at most `size` bytes, and how many bytes it took."""
    cdef uint32_t lead = data[0], point
    cdef size_t wanted, number
    used[0] = 1
    if lead < 0x80:
        return lead
    if 0xC2 <= lead <= 0xDF:
        wanted, point = 2, lead & 0x1F
    elif 0xE0 <= lead <= 0xEF:
        wanted, point = 3, lead & 0x0F
    elif 0xF0 <= lead <= 0xF4:
        wanted, point = 4, lead & 0x07
    else:
        return 0xDC00 + lead
    if size < wanted:
        return 0xDC00 + lead
    for number in range(1, wanted):
        if data[number] & 0xC0 != 0x80:
            return 0xDC00 + lead
        point = point << 6 | data[number] & 0x3F
    if (wanted == 3 and (point < 0x800 or 0xD800 <= point <= 0xDFFF)) or (
        wanted == 4 and (point < 0x10000 or point > 0x10FFFF)
    ):
        return 0xDC00 + lead
    used[0] = wanted
    return point


cdef inline void _enter(const Token *tokens, uint32_t count, uint32_t state, uint8_t *states) noexcept nogil:
    """Make `state` active, and what it reaches without reading anything."""
    while not states[state]:
        states[state] = 1
        if state == count:
            return
        if tokens[state].op == OP_DIRECTORIES:
            states[state + 1] = 1
            state += 2
        elif tokens[state].op in (OP_STAR, OP_ALL, OP_TAIL):
            state += 1
        else:
            return


cdef bint _in_class(const uint32_t *ranges, const Token *token, uint32_t point) noexcept nogil:
    cdef uint32_t number
    for number in range(token.count):
        if ranges[token.value + 2 * number] <= point <= ranges[token.value + 2 * number + 1]:
            return True
    return False


cdef enum Outcome:
    MATCHES = 1             # the whole path
    MAY_MATCH = 2           # a longer path that begins with this one


cdef int _run(const Token *tokens, uint32_t count, const uint32_t *ranges, const char *path, size_t size,
              uint8_t *now, uint8_t *then) noexcept nogil:
    """Return the outcomes of the program for a path; `now` and `then` have room for count + 1 states."""
    cdef size_t at = 0, used
    cdef uint32_t point, state, op
    cdef bint alive
    memset(now, 0, count + 1)
    _enter(tokens, count, 0, now)
    while at < size:
        point = _decode(<const uint8_t *>path + at, size - at, &used)
        at += used
        memset(then, 0, count + 1)
        alive = False
        for state in range(count):
            if not now[state]:
                continue
            op = tokens[state].op
            if op == OP_LITERAL:
                if point != tokens[state].value:
                    continue
                _enter(tokens, count, state + 1, then)
            elif op == OP_ANY:
                if point == c'/':
                    continue
                _enter(tokens, count, state + 1, then)
            elif op == OP_STAR:
                if point == c'/':
                    continue
                _enter(tokens, count, state, then)
            elif op == OP_ALL:
                _enter(tokens, count, state, then)
            elif op == OP_TAIL:
                if point == c'\n':
                    continue
                _enter(tokens, count, state, then)
            elif op == OP_DIRECTORIES_LOOP:
                if point == c'\n':
                    continue
                then[state] = 1
                if point == c'/':
                    _enter(tokens, count, state + 1, then)
            elif op == OP_CLASS or op == OP_CLASS_NOT:
                if _in_class(ranges, &tokens[state], point) == (op == OP_CLASS_NOT):
                    continue
                _enter(tokens, count, state + 1, then)
            else:
                continue
            alive = True
        if not alive:
            return 0
        now, then = then, now
    for state in range(count):
        if now[state]:
            return MAY_MATCH | (MATCHES if now[count] else 0)
    return MATCHES if now[count] else 0


cdef class PatternSet:
    """An ordered set of patterns, the last match deciding.

    Args:
        patterns: For each pattern (negated, programs), where each program is a list of tokens (op, value): op a key
            of OPS, value the code point of a literal, or the list of (low, high) code points of a class.
    """

    def __cinit__(self, list patterns not None):
        programs = [program for _, alternatives in patterns for program in alternatives]
        expanded = [self._expand(program) for program in programs]
        tokens = [token for program in expanded for token in program]
        ranges = [pair for op, value, _ in tokens if op in (OP_CLASS, OP_CLASS_NOT) for pair in value]
        self.count = len(patterns)
        self.has_negations = any(negated for negated, _ in patterns)
        self.scratch_size = 2 * (max((len(program) for program in expanded), default=0) + 1)
        self.tokens = <Token *>calloc(max(len(tokens), 1), sizeof(Token))
        self.programs = <Program *>calloc(max(len(programs), 1), sizeof(Program))
        self.patterns = <Pattern *>calloc(max(len(patterns), 1), sizeof(Pattern))
        self.ranges = <uint32_t *>calloc(max(len(ranges), 1), 2 * sizeof(uint32_t))
        if self.tokens == NULL or self.programs == NULL or self.patterns == NULL or self.ranges == NULL:
            raise MemoryError
        cdef uint32_t number = 0, used = 0, first = 0
        for op, value, _ in tokens:
            self.tokens[number].op = op
            if op in (OP_CLASS, OP_CLASS_NOT):
                self.tokens[number].value = 2 * used
                self.tokens[number].count = len(value)
                for low, high in value:
                    self.ranges[2 * used] = low
                    self.ranges[2 * used + 1] = high
                    used += 1
            else:
                self.tokens[number].value = value
            number += 1
        number = 0
        for program in expanded:
            self.programs[number].first = first
            self.programs[number].count = len(program)
            first += len(program)
            number += 1
        number = first = 0
        for negated, alternatives in patterns:
            self.patterns[number].first = first
            self.patterns[number].count = len(alternatives)
            self.patterns[number].negated = negated
            first += len(alternatives)
            number += 1

    @staticmethod
    def _expand(program):
        tokens = []
        for name, value in program:
            tokens.append((OPS[name], value or 0, None))
            if name == "directories":
                tokens.append((OP_DIRECTORIES_LOOP, 0, None))
        return tokens

    def __dealloc__(self):
        free(self.tokens)
        free(self.programs)
        free(self.patterns)
        free(self.ranges)

    cdef bint excludes(self, const char *path, size_t size, const uint8_t *parent, uint8_t *matched,
                       uint8_t *scratch) noexcept nogil:
        """Return whether the patterns leave the path out.

        `parent` holds a byte for each pattern, whether it matched the path's parent directory (NULL at the top): a
        pattern that matches a directory matches everything beneath it. `matched` takes the same for this path.
        """
        cdef uint32_t number, alternative
        cdef Pattern *pattern
        cdef Program *program
        cdef bint excluded = False, match
        for number in range(self.count):
            pattern = &self.patterns[number]
            match = parent != NULL and parent[number]
            matched[number] = match
            if not match:
                # A pattern that could only confirm the decision so far need not be asked.
                if pattern.negated != excluded:
                    continue
                for alternative in range(pattern.first, pattern.first + pattern.count):
                    program = &self.programs[alternative]
                    if _run(self.tokens + program.first, program.count, self.ranges, path, size,
                            scratch, scratch + self.scratch_size // 2) & MATCHES:
                        match = True
                        break
                matched[number] = match
            if match:
                excluded = not pattern.negated
        return excluded

    cdef bint may_readmit(self, const char *directory, size_t size, uint8_t *scratch) noexcept nogil:
        """Return whether a negated pattern can match anything beneath an excluded directory.

        Where none can, the directory need not be looked into. Its path ends in a slash here.
        """
        cdef uint32_t number, alternative
        cdef Pattern *pattern
        cdef Program *program
        for number in range(self.count):
            pattern = &self.patterns[number]
            if not pattern.negated:
                continue
            for alternative in range(pattern.first, pattern.first + pattern.count):
                program = &self.programs[alternative]
                if _run(self.tokens + program.first, program.count, self.ranges, directory, size,
                        scratch, scratch + self.scratch_size // 2) & MAY_MATCH:
                    return True
        return False

    def excludes_path(self, bytes path not None):
        """Return whether the patterns leave out `path`, its parent directories considered: for tests and messages."""
        cdef bytearray scratch = bytearray(self.scratch_size)
        cdef bytearray parent = bytearray(self.count + 1)
        cdef bytearray matched
        cdef bint excluded = False
        parts = path.split(b"/")
        for number in range(1, len(parts) + 1):
            prefix = b"/".join(parts[:number])
            matched = bytearray(self.count + 1)
            excluded = self.excludes(prefix, len(prefix), <uint8_t *><char *>parent, <uint8_t *><char *>matched,
                                     <uint8_t *><char *>scratch)
            parent = matched
        return excluded
