"""A job: what one call computes, and how activations meet the matrices.

Tokens come in segments, one for each conversation: the tokens of a segment follow each other
and have a cache of their own. A prompt is one segment of many tokens, a batch of decodes is many
segments of one.
"""
from activations import FINE, LATE, SHORT, encode, encode_token, normalise, refine, spread
from attention import Cache
from model import GROUPS, HEAD, Matrix, Model, ROTARY, Scratch
from registers import BLOCK, Floats, Halves, Ints, MIDDLE, NARROW, TILE, WIDE, Words
from team import Place
from tiles import BLOCKWISE, FLOATING, Panel, TOKENWISE, tile_for

comptime SEGMENT = 3  # words: tokens, tokens before them in the cache, capacity of the cache


@fieldwise_init
struct Job(TrivialRegisterPassable):
    """What one call computes; addresses were checked before."""

    var words: Words

    @always_inline
    def model(self) -> Model:
        return Model(Words(unsafe_from_address=self.words[unsafe_offset=0]))

    @always_inline
    def rows(self) -> Int:
        """Tokens in all."""
        return self.words[unsafe_offset=1]

    @always_inline
    def segments(self) -> Int:
        return self.words[unsafe_offset=2]

    @always_inline
    def segment(self, number: Int, which: Int) -> Int:
        """0 tokens, 1 tokens before them, 2 capacity."""
        return Words(unsafe_from_address=self.words[unsafe_offset=3])[
            unsafe_offset=number * SEGMENT + which
        ]

    @always_inline
    def cache(self, number: Int, layer: Int, group: Int) -> Cache:
        """Keys and values of a segment for one layer and head."""
        var m = self.model()
        var capacity = self.segment(number, 2)
        var base = Halves(
            unsafe_from_address=Words(unsafe_from_address=self.words[unsafe_offset=4])[
                unsafe_offset=number
            ]
        ).unsafe_offset((layer * m.size(GROUPS) + group) * m.cache_halves(capacity))
        return Cache(
            base, base.unsafe_offset(capacity * m.size(HEAD)), m.size(HEAD), m.padded_head()
        )

    @always_inline
    def token(self, row: Int) -> Int:
        return Int(Ints(unsafe_from_address=self.words[unsafe_offset=5])[unsafe_offset=row])

    @always_inline
    def angles(self, position: Int) -> Floats:
        """Cosines, then sines, of a position."""
        return Floats(unsafe_from_address=self.words[unsafe_offset=6]).unsafe_offset(
            position * self.model().size(ROTARY)
        )

    @always_inline
    def logits(self) -> Floats:
        return Floats(unsafe_from_address=self.words[unsafe_offset=7])

    @always_inline
    def room(self, place: Int) -> Floats:
        """A place of the working memory."""
        return Floats(unsafe_from_address=self.words[unsafe_offset=8] + place)

    @always_inline
    def threads(self) -> Int:
        return self.words[unsafe_offset=11]


@always_inline
def width_at(rows: Int, token: Int) -> Int:
    """How many tokens the panel that begins at `token` has room for."""
    var rest = rows - token
    if rest <= 2:
        return rest
    return NARROW if rest <= NARROW else (MIDDLE if rest <= MIDDLE else WIDE)


@always_inline
def panel_at(job: Job, s: Scratch, place: Place, token: Int, columns: Int) -> Panel:
    """The panel that begins at a token; in a step, this thread's."""
    var blocks = columns // BLOCK
    var own = s.alone * place.number
    return Panel(
        job.room(s.codes + own).unsafe_bitcast[Int8]().unsafe_offset(token * columns),
        job.room(s.scales + own).unsafe_offset(token * blocks),
        job.room(s.sums + own).unsafe_offset(token * blocks),
        job.room(s.halves + own).unsafe_offset(2 * token * blocks),
        job.room(s.floats + own).unsafe_offset(token * columns),
        job.room(s.rest + own).unsafe_bitcast[Int8]().unsafe_offset(token * columns),
        job.room(s.rest_scales + own).unsafe_offset(token * blocks),
        job.room(s.fine + own).unsafe_bitcast[Int32]().unsafe_offset(token * blocks),
    )


@always_inline
def panels(rows: Int) -> Int:
    """How many panels there are."""
    return (rows + WIDE - 1) // WIDE


@always_inline
def first_panel(s: Scratch, place: Place) -> Int:
    """The first of this thread's panels: in turn, since the last ones are the most work. In a step
    there is one, and all fill it."""
    return 0 if s.alone != 0 else place.number


@always_inline
def own_room(job: Job, s: Scratch, place: Place) -> Floats:
    """This thread's part of the working memory: first the rows of a panel."""
    return job.room(s.own + place.number * s.own_bytes)


def fill_panel(
    job: Job,
    s: Scratch,
    place: Place,
    rows: Int,
    first: Int,
    x: Floats,
    stride: Int,
    columns: Int,
    needed: Int,
    energies: Floats,
):
    """Put the tokens of the panel that begins at `first` where the matrices read them."""
    var width = width_at(rows, first)
    var count = min(WIDE, rows - first)
    var panel = panel_at(job, s, place, first, columns)
    for j in range(count):
        if needed & BLOCKWISE != 0:
            encode(x.unsafe_offset(j * stride), columns, panel, width, j)
        if needed & TOKENWISE != 0:
            encode_token(x.unsafe_offset(j * stride), columns, panel, width, j)
        if needed & FLOATING != 0:
            spread(x.unsafe_offset(j * stride), columns, panel, width, j)
    if needed & BLOCKWISE != 0:
        var all = width <= NARROW or rows <= SHORT or first + LATE >= rows
        var share = 1 if all else FINE
        refine(x, stride, count, columns, panel, width, energies, share)


def hand_over(
    job: Job, s: Scratch, x: Floats, stride: Int, columns: Int, needed: Int, place: Place
):
    """Put this thread's panels of activations where the matrices read them."""
    var energies = own_room(job, s, place).unsafe_offset(WIDE * job.model().widest())
    var rows = job.rows()
    for p in range(first_panel(s, place), panels(rows), place.threads):
        var from_row = x.unsafe_offset(p * WIDE * stride)
        fill_panel(job, s, place, rows, p * WIDE, from_row, stride, columns, needed, energies)


def hand_over_normal(
    job: Job,
    s: Scratch,
    x: Floats,
    stride: Int,
    columns: Int,
    norm: Floats,
    needed: Int,
    place: Place,
):
    """The same behind a norm."""
    var m = job.model()
    var own = own_room(job, s, place)
    var energies = own.unsafe_offset(WIDE * m.widest())
    var rows = job.rows()
    for p in range(first_panel(s, place), panels(rows), place.threads):
        for j in range(min(WIDE, rows - p * WIDE)):
            var row = x.unsafe_offset((p * WIDE + j) * stride)
            normalise(row, norm, columns, m.epsilon(), own.unsafe_offset(j * columns))
        fill_panel(job, s, place, rows, p * WIDE, own, columns, columns, needed, energies)


def multiply(
    job: Job,
    s: Scratch,
    place: Place,
    m: Matrix,
    to: Floats,
    stride: Int,
    first: Int,
    last: Int,
):
    """Tiles [first, last) of a matrix times all tokens."""
    var rows = job.rows()
    var blocks = m.columns // BLOCK
    for t in range(first, last):
        var w = m.at(t)
        var row = 0
        while row < rows:
            var width = width_at(rows, row)
            var x = panel_at(job, s, place, row, m.columns)
            var o = to.unsafe_offset(row * stride + t * TILE)
            tile_for(width, m.format, w, m.scale, blocks, x, o, stride)
            row += width


def add_product(job: Job, s: Scratch, m: Matrix, place: Place):
    """Add a product to the hidden states, this thread's columns of it."""
    var width = m.rows
    var first = place.first(m.tiles())
    var last = place.last(m.tiles())
    var product = job.room(s.product)
    var hidden = job.room(s.hidden)
    multiply(job, s, place, m, product, width, first, last)
    for row in range(job.rows()):
        for t in range(first, last):
            var at = row * width + t * TILE
            hidden.unsafe_store(
                at, hidden.unsafe_load[width=16](at) + product.unsafe_load[width=16](at)
            )
