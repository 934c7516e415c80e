"""A model as the kernels see it: sizes, and where its matrices and vectors lie."""
from std.memory import bitcast
from registers import BLOCK, Bytes, Floats, TILE, WIDE, Words, round_up
from attention import KEYS
from tiles import FORMATS, TOKENWISE, block_bytes, needs

comptime LAYERS = 0
comptime WIDTH = 1
comptime HIDDEN = 2
comptime HEADS = 3
comptime GROUPS = 4  # heads of keys and values
comptime HEAD = 5
comptime ROTARY = 6
comptime VOCABULARY = 7
comptime EPSILON = 8  # bits of the float
comptime SQUARED = 9  # 1: the gate is a squared ReLU, otherwise a SiLU
comptime HEADER = 16
comptime MATRIX = 5  # words of a matrix: place, format, rows, columns, bits of its scale
comptime PER_LAYER = 7
comptime QUERY = 0
comptime KEY = 1
comptime VALUE = 2
comptime OUTPUT = 3
comptime GATE = 4
comptime UP = 5
comptime DOWN = 6
comptime NORMS = 4  # vectors of a layer
comptime BEFORE_ATTENTION = 1
comptime BEFORE_GATES = 2
comptime BEFORE_OUTPUT = 3  # BitNet only; the others have none, which is -1
comptime BEFORE_DOWN = 4
comptime PARTS = 8  # at most so many of the keys that one token looks at
comptime MOST_LAYERS = 1 << 12
comptime MOST = 1 << 24


@fieldwise_init
struct Matrix(TrivialRegisterPassable):
    """Tiles of one matrix."""

    var data: Bytes
    var format: Int
    var rows: Int
    var columns: Int
    var scale: Float32

    @always_inline
    def tiles(self) -> Int:
        """How many tiles of 16 rows there are."""
        return (self.rows + TILE - 1) // TILE

    @always_inline
    def at(self, tile: Int) -> Bytes:
        """Where a tile begins."""
        return self.data.unsafe_offset(tile * (self.columns // BLOCK) * block_bytes(self.format))


@fieldwise_init
struct Model(TrivialRegisterPassable):
    """Words of a plan whose places have become addresses."""

    var words: Words

    @always_inline
    def size(self, which: Int) -> Int:
        """A number of the header."""
        return self.words[unsafe_offset=which]

    @always_inline
    def epsilon(self) -> Float32:
        """What the norms add to the mean square."""
        return bitcast[DType.float32, 1](SIMD[DType.int32, 1](Int32(self.size(EPSILON))))[0]

    @always_inline
    def matrix(self, number: Int) -> Matrix:
        """0 the embedding, 1 the head, then seven a layer."""
        var w = self.words.unsafe_offset(HEADER + number * MATRIX)
        return Matrix(
            Bytes(unsafe_from_address=w[unsafe_offset=0]),
            w[unsafe_offset=1],
            w[unsafe_offset=2],
            w[unsafe_offset=3],
            bitcast[DType.float32, 1](SIMD[DType.int32, 1](Int32(w[unsafe_offset=4])))[0],
        )

    @always_inline
    def of_layer(self, layer: Int, which: Int) -> Matrix:
        """A matrix of a layer."""
        return self.matrix(2 + layer * PER_LAYER + which)

    @always_inline
    def matrices(self) -> Int:
        """How many matrices there are."""
        return 2 + self.size(LAYERS) * PER_LAYER

    @always_inline
    def vector(self, number: Int) -> Floats:
        """0 the last norm, then four a layer."""
        return Floats(unsafe_from_address=self.vector_word(number))

    @always_inline
    def vector_word(self, number: Int) -> Int:
        """The address of a vector; 0 where there is none."""
        return self.words[unsafe_offset=HEADER + self.matrices() * MATRIX + number]

    @always_inline
    def norm(self, layer: Int, which: Int) -> Floats:
        """A vector of a layer."""
        return self.vector(layer * NORMS + which)

    @always_inline
    def has_norm(self, layer: Int, which: Int) -> Bool:
        """Whether a layer has that vector."""
        return self.vector_word(layer * NORMS + which) != 0

    @always_inline
    def vectors(self) -> Int:
        """How many vectors there are."""
        return 1 + self.size(LAYERS) * NORMS

    @always_inline
    def padded_head(self) -> Int:
        """Components of a value in the cache."""
        return round_up(self.size(HEAD), 16)

    @always_inline
    def queries(self) -> Int:
        """Floats of a token's queries."""
        return self.size(HEADS) * self.size(HEAD)

    @always_inline
    def keys(self) -> Int:
        """Floats of a token's keys."""
        return self.size(GROUPS) * self.size(HEAD)

    @always_inline
    def widest(self) -> Int:
        """The longest row that meets a matrix."""
        return max(max(self.size(WIDTH), self.size(HIDDEN)), self.queries())

    @always_inline
    def cache_halves(self, capacity: Int) -> Int:
        """Half-precision numbers of the keys and values of one layer and head."""
        return capacity * (self.size(HEAD) + self.padded_head())


def expected(model: Model, number: Int, rows: Bool) -> Int:
    """Rows or columns that a matrix must have."""
    var width = model.size(WIDTH)
    if number < 2:
        return model.size(VOCABULARY) if rows else width
    var which = (number - 2) % PER_LAYER
    if which == QUERY:
        return model.queries() if rows else width
    elif which == KEY or which == VALUE:
        return model.keys() if rows else width
    elif which == OUTPUT:
        return width if rows else model.queries()
    elif which == DOWN:
        return width if rows else model.size(HIDDEN)
    return model.size(HIDDEN) if rows else width


def sound_header(model: Model) -> Bool:
    """Whether the sizes make sense together."""
    for which in range(VOCABULARY + 1):
        if which != ROTARY and (model.size(which) < 1 or model.size(which) > MOST):
            return False
    return (
        model.size(LAYERS) <= MOST_LAYERS
        and model.size(HEAD) <= 1024
        and model.size(HEADS) <= 4096
        and model.size(GROUPS) <= model.size(HEADS)
        and model.size(HEADS) % model.size(GROUPS) == 0
        and model.size(ROTARY) >= 0
        and model.size(ROTARY) <= model.size(HEAD)
        and model.size(ROTARY) % 2 == 0
        and model.size(WIDTH) % BLOCK == 0
        and model.size(HIDDEN) % BLOCK == 0
        and model.queries() % BLOCK == 0
        and model.epsilon() > 0
        and model.epsilon() < 1
    )


def settle(model: Model, arena: Int, length: Int) -> Bool:
    """Check every matrix and vector against the arena and turn places into addresses."""
    for number in range(model.matrices()):
        var w = model.words.unsafe_offset(HEADER + number * MATRIX)
        var place = w[unsafe_offset=0]
        var format = w[unsafe_offset=1]
        if format < 0 or format >= FORMATS:
            return False
        if w[unsafe_offset=2] != expected(model, number, True):
            return False
        if w[unsafe_offset=3] != expected(model, number, False):
            return False
        var tiles = (w[unsafe_offset=2] + TILE - 1) // TILE
        var bytes = tiles * (w[unsafe_offset=3] // BLOCK) * block_bytes(format)
        if place < 0 or place % 64 != 0 or bytes > length or place > length - bytes:
            return False
        w[unsafe_offset=0] = arena + place
    var vectors = model.words.unsafe_offset(HEADER + model.matrices() * MATRIX)
    for number in range(model.vectors()):
        var place = vectors[unsafe_offset=number]
        var which = (number - 1) % NORMS + 1 if number > 0 else 0
        var bytes = model.size(WIDTH) * 4
        if which == BEFORE_OUTPUT or which == BEFORE_DOWN:
            if place == -1:
                vectors[unsafe_offset=number] = 0
                continue
            bytes = (model.queries() if which == BEFORE_OUTPUT else model.size(HIDDEN)) * 4
        if place < 0 or place % 64 != 0 or bytes > length or place > length - bytes:
            return False
        vectors[unsafe_offset=number] = arena + place
    for layer in range(model.size(LAYERS)):
        var q = needs(model.of_layer(layer, QUERY).format)
        var k = needs(model.of_layer(layer, KEY).format)
        var v = needs(model.of_layer(layer, VALUE).format)
        var g = needs(model.of_layer(layer, GATE).format)
        var u = needs(model.of_layer(layer, UP).format)
        # Both kinds of codes would have to lie in one place.
        if (q | k | v) & TOKENWISE != 0 and (q | k | v) != TOKENWISE:
            return False
        if (g | u) & TOKENWISE != 0 and (g | u) != TOKENWISE:
            return False
    return True


@fieldwise_init
struct Scratch(TrivialRegisterPassable):
    """Places, in bytes, within the working memory of a job."""

    var hidden: Int
    var query: Int
    var key: Int
    var value: Int
    var seen: Int
    var gate: Int
    var up: Int
    var product: Int
    var codes: Int
    var scales: Int
    var sums: Int
    var halves: Int
    var floats: Int
    var rest: Int
    var rest_scales: Int
    var fine: Int
    var alone: Int  # bytes from one thread's panel to the next in a step; 0: they share panels
    var parts: Int
    var own: Int  # of thread 0; the others follow
    var own_bytes: Int
    var total: Int


@always_inline
def part_floats(model: Model) -> Int:
    """Floats of what was seen in one part of the keys for one token: sums, maxima, totals."""
    return round_up(model.size(HEADS) * (model.padded_head() + 2), 16)


@always_inline
def own_rows(model: Model) -> Int:
    """Floats that a thread needs to prepare a panel: its rows, and an energy a block."""
    return WIDE * model.widest() + round_up(model.widest() // BLOCK, 16)


def plan_scratch(model: Model, rows: Int, segments: Int, threads: Int) -> Scratch:
    """Working memory for `rows` tokens; what must outlive a call lies before `parts`."""
    var r = round_up(rows, WIDE)
    var wide = model.widest()
    var queries = round_up(model.queries(), TILE)
    var keys = round_up(model.keys(), TILE)
    var s = Scratch(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    var at = round_up(r * model.size(WIDTH) * 4, 64)
    s.query = at
    at += round_up(r * queries * 4, 64)
    s.key = at
    at += round_up(r * keys * 4, 64)
    s.value = at
    at += round_up(r * keys * 4, 64)
    s.seen = at
    at += round_up(r * queries * 4, 64)
    s.gate = at
    at += round_up(r * model.size(HIDDEN) * 4, 64)
    s.up = at
    at += round_up(r * model.size(HIDDEN) * 4, 64)
    s.product = at
    at += round_up(r * model.size(WIDTH) * 4, 64)
    s.codes = at
    at += round_up(r * wide, 64)
    s.scales = at
    at += round_up(r * wide // BLOCK * 4, 64)
    s.sums = at
    at += round_up(r * wide // BLOCK * 4, 64)
    s.halves = at
    at += round_up(r * wide // BLOCK * 8, 64)
    s.floats = at
    at += round_up(r * wide * 4, 64)
    s.rest = at
    at += round_up(r * wide, 64)
    s.rest_scales = at
    at += round_up(r * wide // BLOCK * 4, 64)
    s.fine = at
    at += round_up(r * wide // BLOCK * 4, 64)
    if rows == segments and rows <= WIDE:
        s.alone = at - s.codes
        at += (threads - 1) * s.alone
    s.parts = at
    at += segments * PARTS * part_floats(model) * 4
    s.own = at
    # Rows of a panel and their energies, turned queries, those in work, weights, sums, then maxima, totals and limits.
    s.own_bytes = (
        own_rows(model)
        + WIDE * queries
        + round_up(model.size(HEAD) * WIDE, 16)
        + WIDE * KEYS
        + WIDE * model.padded_head()
        + 3 * 16
    ) * 4
    s.own_bytes = round_up(s.own_bytes, 64)
    s.total = at + threads * s.own_bytes
    return s
