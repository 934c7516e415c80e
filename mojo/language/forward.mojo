"""The forward pass of some layers for some tokens, as every thread of a team runs it."""
from activations import gate, normalise, squared_gate
from job import (
    Job,
    width_at,
    panel_at,
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
    HIDDEN,
    KEY,
    OUTPUT,
    QUERY,
    SQUARED,
    Scratch,
    UP,
    VALUE,
    VOCABULARY,
    WIDTH,
    plan_scratch,
)
from queries import attend_many, attend_one, merge_one, place_rows, place_step
from registers import BLOCK, TILE, WIDE, round_up
from team import Place
from tiles import needs, tile_for, write_row


@always_inline
def meet_unless_alone(s: Scratch, mut place: Place):
    """Wait for activations that another thread hands over. In a step nobody does."""
    if s.alone == 0:
        place.meet()


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
    meet_unless_alone(s, place)
    var queries = round_up(m.queries(), TILE)
    var keys = round_up(m.keys(), TILE)
    # One share of all three, so that threads meet once.
    var tiles = wq.tiles() + 2 * wk.tiles()
    var first = place.first(tiles)
    var last = place.last(tiles)
    multiply(
        job, s, place, wq, job.room(s.query), queries, min(first, wq.tiles()), min(last, wq.tiles())
    )
    first = max(first - wq.tiles(), 0)
    last = max(last - wq.tiles(), 0)
    multiply(
        job, s, place, wk, job.room(s.key), keys, min(first, wk.tiles()), min(last, wk.tiles())
    )
    first = max(first - wk.tiles(), 0)
    last = max(last - wk.tiles(), 0)
    multiply(job, s, place, wv, job.room(s.value), keys, first, last)
    place.meet()
    if s.alone != 0:
        place_step(job, s, layer, place)
    else:
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
    var seen = job.room(s.seen)
    if s.alone != 0:
        seen = own_room(job, s, place)
    row = 0
    for number in range(job.segments()):
        var mine = s.alone != 0 or row // WIDE % place.threads == place.number
        if job.segment(number, 0) == 1 and mine:
            merge_one(job, s, number, seen.unsafe_offset(row * queries))
        row += job.segment(number, 0)
    if m.has_norm(layer, BEFORE_OUTPUT):
        var norm = m.norm(layer, BEFORE_OUTPUT)
        hand_over_normal(job, s, seen, queries, m.queries(), norm, needs(wo.format), place)
    else:
        hand_over(job, s, seen, queries, m.queries(), needs(wo.format), place)
    meet_unless_alone(s, place)
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
    meet_unless_alone(s, place)
    var first = place.first(wg.tiles())
    var last = place.last(wg.tiles())
    var g = job.room(s.gate)
    var u = job.room(s.up)
    var squared = m.size(SQUARED) != 0
    # Few tokens read one matrix after the other, as memory likes it; many want what they have
    # just computed to be near.
    var bunch = last - first if s.alone != 0 else 1
    for t in range(first, last):
        if (t - first) % bunch == 0:
            multiply(job, s, place, wg, g, hidden, t, t + bunch)
            multiply(job, s, place, wu, u, hidden, t, t + bunch)
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
    meet_unless_alone(s, place)
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
    if place.number == 0 or s.alone != 0:
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
                    place,
                    count,
                    number - j,
                    own,
                    width,
                    width,
                    needs(head.format),
                    own.unsafe_offset(WIDE * m.widest()),
                )
    meet_unless_alone(s, place)
    var begin_tile = place.first(head.tiles())
    var end_tile = place.last(head.tiles())
    for t in range(begin_tile, end_tile):
        var number = 0
        while number < count:
            var wide = width_at(count, number)
            var x = panel_at(job, s, place, number, width)
            var o = job.logits().unsafe_offset(number * stride + t * TILE)
            tile_for(wide, head.format, head.at(t), head.scale, width // BLOCK, x, o, stride)
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
