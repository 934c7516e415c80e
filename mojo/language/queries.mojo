"""Queries of a job's tokens and the keys they look at: whose they are, and which thread's work.

In a step, one token for each of some conversations, every thread turns all queries for itself and
looks at its share of the keys, and every thread joins what all have seen. A prompt's queries are
divided between the threads.
"""
from std.math import exp, sqrt
from activations import rotate
from attention import Asking, Cache, KEYS, NEVER, attend, store
from job import Job, own_room
from model import GROUPS, HEAD, HEADS, PARTS, ROTARY, Scratch, own_rows, part_floats
from registers import Floats, NARROW, TILE, WIDE, round_up
from team import Place


def own_queries(job: Job, s: Scratch, place: Place) -> Floats:
    """This thread's room for the turned queries of a step."""
    return own_room(job, s, place).unsafe_offset(own_rows(job.model()))


def asking(job: Job, s: Scratch, place: Place) -> Asking:
    """This thread's room for queries."""
    var m = job.model()
    var at = own_queries(job, s, place)
    at = at.unsafe_offset(WIDE * round_up(m.queries(), TILE))
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
def ask(a: Asking, query: Floats, size: Int, width: Int, place: Int, limit: Int):
    """Put one head of one token among the queries."""
    var scale = 1.0 / sqrt(Float32(size))
    for i in range(size):
        a.query[unsafe_offset=i * width + place] = query[unsafe_offset=i] * scale
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
    """A segment of one token: this thread's share of the parts of the keys, for all heads.

    How the keys are parted does not follow from how many threads there are, so that the same
    question has the same answer on a machine that is busy.
    """
    var m = job.model()
    var heads = m.size(HEADS)
    var padded = m.padded_head()
    var limit = job.segment(number, 1) + 1
    var tiles = (limit + TILE - 1) // TILE
    var parts = min(tiles, PARTS)
    var size = m.size(HEAD)
    var queries = job.room(s.query)
    if s.alone != 0:
        queries = own_queries(job, s, place)
    queries = queries.unsafe_offset(row * round_up(m.queries(), TILE))
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
                ask(a, queries.unsafe_offset(head * size), size, width, j, limit)
            for p in range(place.first(parts), place.last(parts)):
                var last = min(tiles * (p + 1) // parts * TILE, limit)
                attend_few(a, c, count, tiles * p // parts * TILE, last)
                var part = job.room(s.parts).unsafe_offset((number * PARTS + p) * part_floats(m))
                for j in range(count):
                    var head = g * group + h + j
                    for i in range(padded):
                        part[unsafe_offset=head * padded + i] = a.sums[unsafe_offset=j * padded + i]
                    part[unsafe_offset=heads * padded + head] = a.most[unsafe_offset=j]
                    part[unsafe_offset=heads * (padded + 1) + head] = a.total[unsafe_offset=j]
            h += count


def merge_one(job: Job, s: Scratch, number: Int, seen: Floats):
    """Join what the threads have seen for a segment of one token, in `seen`."""
    var m = job.model()
    var heads = m.size(HEADS)
    var size = m.size(HEAD)
    var padded = m.padded_head()
    var step = part_floats(m)
    var parts = job.room(s.parts).unsafe_offset(number * PARTS * step)
    var count = min((job.segment(number, 1) + TILE) // TILE, PARTS)
    for head in range(heads):
        var most = NEVER
        for t in range(count):
            most = max(most, parts[unsafe_offset=t * step + heads * padded + head])
        var total = Float32(0)
        for i in range(size):
            seen[unsafe_offset=head * size + i] = 0
        for t in range(count):
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
    var queries = job.room(s.query)
    # From both ends inwards, since later tokens see more.
    for unit in range(place.number, bunches * m.size(GROUPS), place.threads):
        var g = unit % m.size(GROUPS)
        var pair = unit // m.size(GROUPS) * WIDE
        var c = job.cache(number, layer, g)
        var count = min(WIDE, pairs - pair)
        for j in range(WIDE):
            var p = pair + min(j, count - 1)
            var t = p // group
            var q = queries.unsafe_offset((row + t) * stride + (g * group + p % group) * size)
            ask(a, q, size, WIDE, j, start + t + 1)
        attend[WIDE](a, c, 0, start + (pair + count - 1) // group + 1)
        for j in range(count):
            var p = pair + j
            var to = job.room(s.seen).unsafe_offset(
                (row + p // group) * stride + (g * group + p % group) * size
            )
            var inverse = 1.0 / a.total[unsafe_offset=j]
            for i in range(size):
                to[unsafe_offset=i] = a.sums[unsafe_offset=j * padded + i] * inverse


def turn(job: Job, queries: Floats, position: Int):
    """Turn all queries of one token."""
    var m = job.model()
    var half = m.size(ROTARY) // 2
    var cosine = job.angles(position)
    for head in range(m.size(HEADS)):
        rotate(queries.unsafe_offset(head * m.size(HEAD)), half, cosine, cosine.unsafe_offset(half))


def keep(job: Job, s: Scratch, layer: Int, number: Int, row: Int, position: Int):
    """Turn the keys of one token, and keep its keys and values."""
    var m = job.model()
    var size = m.size(HEAD)
    var half = m.size(ROTARY) // 2
    var stride = round_up(m.keys(), TILE)
    var cosine = job.angles(position)
    var k = job.room(s.key).unsafe_offset(row * stride)
    var v = job.room(s.value).unsafe_offset(row * stride)
    for g in range(m.size(GROUPS)):
        rotate(k.unsafe_offset(g * size), half, cosine, cosine.unsafe_offset(half))
        store(
            job.cache(number, layer, g),
            position,
            k.unsafe_offset(g * size),
            v.unsafe_offset(g * size),
        )


def place_rows(job: Job, s: Scratch, layer: Int, place: Place):
    """Turn queries and keys of this thread's tokens, and keep keys and values."""
    var queries = round_up(job.model().queries(), TILE)
    var first = place.first(job.rows())
    var last = place.last(job.rows())
    var row = 0
    for number in range(job.segments()):
        for t in range(job.segment(number, 0)):
            if row >= first and row < last:
                var position = job.segment(number, 1) + t
                turn(job, job.room(s.query).unsafe_offset(row * queries), position)
                keep(job, s, layer, number, row, position)
            row += 1


def place_step(job: Job, s: Scratch, layer: Int, place: Place):
    """The same for a step: turned queries for this thread alone; the last thread, which looks at the
    newest keys, keeps them.
    """
    var stride = round_up(job.model().queries(), TILE)
    var own = own_queries(job, s, place)
    for row in range(job.rows()):
        var position = job.segment(row, 1)
        var from_row = job.room(s.query).unsafe_offset(row * stride)
        var to = own.unsafe_offset(row * stride)
        for i in range(stride // TILE):
            to.unsafe_store(i * TILE, from_row.unsafe_load[width=TILE](i * TILE))
        turn(job, to, position)
        if place.number == place.threads - 1:
            keep(job, s, layer, row, row, position)
