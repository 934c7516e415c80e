"""The forward pass of some layers for some tokens, as every thread of a team runs it."""
from std.math import exp, sqrt
from activations import gate, normalise, rotate, squared_gate
from attention import Asking, Cache, KEYS, NEVER, attend, store
from job import (
    Job,
    width_at,
    panel_at,
    panels,
    own_room,
    fill_panel,
    hand_over,
    hand_over_normal,
    multiply,
    add_product,
)
from model import (
    BEFORE_ATTENTION,
    BEFORE_DOWN,
    BEFORE_GATES,
    BEFORE_OUTPUT,
    DOWN,
    GATE,
    GROUPS,
    HEAD,
    HEADS,
    HIDDEN,
    KEY,
    OUTPUT,
    QUERY,
    ROTARY,
    SQUARED,
    Scratch,
    UP,
    VALUE,
    VOCABULARY,
    WIDTH,
    own_rows,
    part_floats,
    plan_scratch,
)
from registers import BLOCK, NARROW, TILE, WIDE, round_up
from team import Place
from tiles import needs, tile, write_row


def asking(job: Job, s: Scratch, place: Place) -> Asking:
    """This thread's room for queries."""
    var m = job.model()
    var at = own_room(job, s, place).unsafe_offset(own_rows(m))
    var query = at
    at = at.unsafe_offset(round_up(m.size(HEAD) * WIDE, 16))
    var weights = at
    at = at.unsafe_offset(WIDE * KEYS)
    var sums = at
    at = at.unsafe_offset(WIDE * m.padded_head())
    return Asking(
        query,
        at.unsafe_bitcast[Int32](),
        weights,
        sums,
        at.unsafe_offset(16),
        at.unsafe_offset(32),
    )


@always_inline
def ask(job: Job, s: Scratch, a: Asking, row: Int, head: Int, width: Int, place: Int, limit: Int):
    """Put one head of one token among the queries."""
    var m = job.model()
    var size = m.size(HEAD)
    var scale = 1.0 / sqrt(Float32(size))
    var q = job.room(s.query).unsafe_offset(row * round_up(m.queries(), TILE) + head * size)
    for i in range(size):
        a.query[unsafe_offset=i * width + place] = q[unsafe_offset=i] * scale
    a.limits[unsafe_offset=place] = Int32(limit)


def attend_few(a: Asking, c: Cache, count: Int, first: Int, last: Int):
    """Attention of `count` queries, whatever kernel suits their number."""
    if count == 1:
        attend[1](a, c, first, last)
    elif count == 3:
        attend[3](a, c, first, last)
    elif count <= NARROW:
        attend[NARROW](a, c, first, last)
    else:
        attend[WIDE](a, c, first, last)


@always_inline
def kernel_width(count: Int) -> Int:
    """The width of the kernel that `attend_few` takes."""
    return count if count == 1 or count == 3 else (NARROW if count <= NARROW else WIDE)


def attend_one(job: Job, s: Scratch, layer: Int, number: Int, row: Int, place: Place):
    """A segment of one token: this thread's share of the keys, for all heads."""
    var m = job.model()
    var heads = m.size(HEADS)
    var padded = m.padded_head()
    var limit = job.segment(number, 1) + 1
    var blocks = (limit + KEYS - 1) // KEYS
    var first = place.first(blocks) * KEYS
    var last = min(place.last(blocks) * KEYS, limit)
    var part = job.room(s.parts).unsafe_offset(
        (number * place.threads + place.number) * part_floats(m)
    )
    var a = asking(job, s, place)
    var group = heads // m.size(GROUPS)
    for g in range(m.size(GROUPS)):
        var c = job.cache(number, layer, g)
        var h = 0
        while h < group:
            var count = min(WIDE, group - h)
            var width = kernel_width(count)
            for j in range(width):
                var head = g * group + h + min(j, count - 1)
                ask(job, s, a, row, head, width, j, limit)
            attend_few(a, c, count, first, last)
            for j in range(count):
                var head = g * group + h + j
                for i in range(padded):
                    part[unsafe_offset=head * padded + i] = a.sums[unsafe_offset=j * padded + i]
                part[unsafe_offset=heads * padded + head] = a.most[unsafe_offset=j]
                part[unsafe_offset=heads * (padded + 1) + head] = a.total[unsafe_offset=j]
            h += count


def merge_one(job: Job, s: Scratch, number: Int, row: Int, threads: Int):
    """Join what the threads have seen for a segment of one token."""
    var m = job.model()
    var heads = m.size(HEADS)
    var size = m.size(HEAD)
    var padded = m.padded_head()
    var step = part_floats(m)
    var parts = job.room(s.parts).unsafe_offset(number * threads * step)
    var seen = job.room(s.seen).unsafe_offset(row * round_up(m.queries(), TILE))
    for head in range(heads):
        var most = NEVER
        for t in range(threads):
            most = max(most, parts[unsafe_offset=t * step + heads * padded + head])
        var total = Float32(0)
        for i in range(size):
            seen[unsafe_offset=head * size + i] = 0
        for t in range(threads):
            var part = parts.unsafe_offset(t * step)
            var factor = exp(max(part[unsafe_offset=heads * padded + head] - most, Float32(-100)))
            total += factor * part[unsafe_offset=heads * (padded + 1) + head]
            for i in range(size):
                seen[unsafe_offset=head * size + i] += (
                    factor * part[unsafe_offset=head * padded + i]
                )
        for i in range(size):
            seen[unsafe_offset=head * size + i] /= total


def attend_many(job: Job, s: Scratch, layer: Int, number: Int, row: Int, place: Place):
    """A segment of several tokens: heads and groups of tokens in turn between the threads."""
    var m = job.model()
    var size = m.size(HEAD)
    var padded = m.padded_head()
    var group = m.size(HEADS) // m.size(GROUPS)
    var tokens = job.segment(number, 0)
    var start = job.segment(number, 1)
    var pairs = tokens * group
    var bunches = (pairs + WIDE - 1) // WIDE
    var a = asking(job, s, place)
    var stride = round_up(m.queries(), TILE)
    # From both ends inwards, since later tokens see more.
    for unit in range(place.number, bunches * m.size(GROUPS), place.threads):
        var g = unit % m.size(GROUPS)
        var pair = unit // m.size(GROUPS) * WIDE
        var c = job.cache(number, layer, g)
        var count = min(WIDE, pairs - pair)
        for j in range(WIDE):
            var p = pair + min(j, count - 1)
            var t = p // group
            ask(job, s, a, row + t, g * group + p % group, WIDE, j, start + t + 1)
        attend[WIDE](a, c, 0, start + (pair + count - 1) // group + 1)
        for j in range(count):
            var p = pair + j
            var to = job.room(s.seen).unsafe_offset(
                (row + p // group) * stride + (g * group + p % group) * size
            )
            var inverse = 1.0 / a.total[unsafe_offset=j]
            for i in range(size):
                to[unsafe_offset=i] = a.sums[unsafe_offset=j * padded + i] * inverse


def place_rows(job: Job, s: Scratch, layer: Int, place: Place):
    """Rotate queries and keys of this thread's tokens, and keep keys and values."""
    var m = job.model()
    var size = m.size(HEAD)
    var half = m.size(ROTARY) // 2
    var queries = round_up(m.queries(), TILE)
    var keys = round_up(m.keys(), TILE)
    var first = place.first(job.rows())
    var last = place.last(job.rows())
    var row = 0
    for number in range(job.segments()):
        for t in range(job.segment(number, 0)):
            if row >= first and row < last:
                var position = job.segment(number, 1) + t
                var cosine = job.angles(position)
                var sine = cosine.unsafe_offset(half)
                var q = job.room(s.query).unsafe_offset(row * queries)
                for head in range(m.size(HEADS)):
                    rotate(q.unsafe_offset(head * size), half, cosine, sine)
                var k = job.room(s.key).unsafe_offset(row * keys)
                var v = job.room(s.value).unsafe_offset(row * keys)
                for g in range(m.size(GROUPS)):
                    rotate(k.unsafe_offset(g * size), half, cosine, sine)
                    store(
                        job.cache(number, layer, g),
                        position,
                        k.unsafe_offset(g * size),
                        v.unsafe_offset(g * size),
                    )
            row += 1


def attention(job: Job, s: Scratch, layer: Int, mut place: Place):
    """Queries, keys and values, then attention, added to the hidden states."""
    var m = job.model()
    var wq = m.of_layer(layer, QUERY)
    var wk = m.of_layer(layer, KEY)
    var wv = m.of_layer(layer, VALUE)
    var wo = m.of_layer(layer, OUTPUT)
    var needed = needs(wq.format) | needs(wk.format) | needs(wv.format)
    var width = m.size(WIDTH)
    var before = m.norm(layer, BEFORE_ATTENTION)
    hand_over_normal(job, s, job.room(s.hidden), width, width, before, needed, place)
    place.meet()
    var queries = round_up(m.queries(), TILE)
    var keys = round_up(m.keys(), TILE)
    # One share of all three, so that threads meet once.
    var tiles = wq.tiles() + 2 * wk.tiles()
    var first = place.first(tiles)
    var last = place.last(tiles)
    multiply(job, s, wq, job.room(s.query), queries, min(first, wq.tiles()), min(last, wq.tiles()))
    first = max(first - wq.tiles(), 0)
    last = max(last - wq.tiles(), 0)
    multiply(job, s, wk, job.room(s.key), keys, min(first, wk.tiles()), min(last, wk.tiles()))
    first = max(first - wk.tiles(), 0)
    last = max(last - wk.tiles(), 0)
    multiply(job, s, wv, job.room(s.value), keys, first, last)
    place.meet()
    place_rows(job, s, layer, place)
    place.meet()
    var row = 0
    for number in range(job.segments()):
        if job.segment(number, 0) == 1:
            attend_one(job, s, layer, number, row, place)
        else:
            attend_many(job, s, layer, number, row, place)
        row += job.segment(number, 0)
    place.meet()
    var mine = place.first(panels(job.rows())) * WIDE
    var end = place.last(panels(job.rows())) * WIDE
    row = 0
    for number in range(job.segments()):
        if job.segment(number, 0) == 1 and row >= mine and row < end:
            merge_one(job, s, number, row, place.threads)
        row += job.segment(number, 0)
    var seen = job.room(s.seen)
    if m.has_norm(layer, BEFORE_OUTPUT):
        var norm = m.norm(layer, BEFORE_OUTPUT)
        hand_over_normal(job, s, seen, queries, m.queries(), norm, needs(wo.format), place)
    else:
        hand_over(job, s, seen, queries, m.queries(), needs(wo.format), place)
    place.meet()
    add_product(job, s, wo, place)
    place.meet()


def gates(job: Job, s: Scratch, layer: Int, mut place: Place):
    """The gated unit, added to the hidden states."""
    var m = job.model()
    var wg = m.of_layer(layer, GATE)
    var wu = m.of_layer(layer, UP)
    var wd = m.of_layer(layer, DOWN)
    var hidden = m.size(HIDDEN)
    var width = m.size(WIDTH)
    var before = m.norm(layer, BEFORE_GATES)
    var needed = needs(wg.format) | needs(wu.format)
    hand_over_normal(job, s, job.room(s.hidden), width, width, before, needed, place)
    place.meet()
    var first = place.first(wg.tiles())
    var last = place.last(wg.tiles())
    var g = job.room(s.gate)
    var u = job.room(s.up)
    var squared = m.size(SQUARED) != 0
    for t in range(first, last):
        multiply(job, s, wg, g, hidden, t, t + 1)
        multiply(job, s, wu, u, hidden, t, t + 1)
        for row in range(job.rows()):
            var at = row * hidden + t * TILE
            var opened = g.unsafe_load[width=16](at)
            var through = u.unsafe_load[width=16](at)
            if squared:
                g.unsafe_store(at, squared_gate(opened, through))
            else:
                g.unsafe_store(at, gate(opened, through))
    place.meet()
    if m.has_norm(layer, BEFORE_DOWN):
        var norm = m.norm(layer, BEFORE_DOWN)
        hand_over_normal(job, s, g, hidden, hidden, norm, needs(wd.format), place)
    else:
        hand_over(job, s, g, hidden, hidden, needs(wd.format), place)
    place.meet()
    add_product(job, s, wd, place)
    place.meet()


def embed(job: Job, s: Scratch, place: Place):
    """Hidden states of this thread's tokens."""
    var m = job.model()
    var table = m.matrix(0)
    var width = m.size(WIDTH)
    for row in range(place.first(job.rows()), place.last(job.rows())):
        var token = job.token(row)
        write_row(
            table.format,
            table.at(token // TILE),
            table.scale,
            width // BLOCK,
            token % TILE,
            job.room(s.hidden).unsafe_offset(row * width),
        )


def score_last(job: Job, s: Scratch, mut place: Place):
    """Scores of the token after each segment."""
    var m = job.model()
    var head = m.matrix(1)
    var width = m.size(WIDTH)
    var count = job.segments()
    var stride = round_up(m.size(VOCABULARY), TILE)
    var own = own_room(job, s, place)
    if place.number == 0:
        var last = -1
        for number in range(count):
            last += job.segment(number, 0)
            var x = job.room(s.hidden).unsafe_offset(last * width)
            var j = number % WIDE
            normalise(x, m.vector(0), width, m.epsilon(), own.unsafe_offset(j * width))
            if j == WIDE - 1 or number == count - 1:
                fill_panel(
                    job,
                    s,
                    count,
                    number - j,
                    own,
                    width,
                    width,
                    needs(head.format),
                    own.unsafe_offset(WIDE * m.widest()),
                )
    place.meet()
    var begin_tile = place.first(head.tiles())
    var end_tile = place.last(head.tiles())
    for t in range(begin_tile, end_tile):
        var number = 0
        while number < count:
            var wide = width_at(count, number)
            var x = panel_at(job, s, number, width)
            var o = job.logits().unsafe_offset(number * stride + t * TILE)
            if wide == 1:
                tile[1](head.format, head.at(t), head.scale, width // BLOCK, x, o, stride)
            elif wide == 2:
                tile[2](head.format, head.at(t), head.scale, width // BLOCK, x, o, stride)
            elif wide == NARROW:
                tile[NARROW](head.format, head.at(t), head.scale, width // BLOCK, x, o, stride)
            else:
                tile[WIDE](head.format, head.at(t), head.scale, width // BLOCK, x, o, stride)
            number += wide
    place.meet()


def run(job: Job, var place: Place):
    """This thread's part of a job: layers [9], up to [10], then the scores if [12]."""
    var m = job.model()
    var s = plan_scratch(m, job.rows(), job.segments(), place.threads)
    var first = job.words[unsafe_offset=9]
    var last = job.words[unsafe_offset=10]
    if first == 0:
        embed(job, s, place)
        place.meet()
    for layer in range(first, last):
        attention(job, s, layer, place)
        gates(job, s, layer, place)
    if job.words[unsafe_offset=12] != 0:
        score_last(job, s, place)
    else:
        place.meet()
