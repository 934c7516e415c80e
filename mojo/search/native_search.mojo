"""The extension module: what Python may ask of the kernels.

Functions take everything through the buffer protocol and compare every length with what
the kernels will touch before anything is read; the interpreter's lock is released around
the work. An index's buffers are held by a capsule, so they can neither move nor vanish
while it lives.
"""
from std.ffi import external_call
from lanes import (
    BLOCK_ROWS,
    Bytes,
    Counts,
    Doubles,
    Floats,
    Ints,
    Longs,
    round_up,
)
from codes1 import encode1, sign_bytes
from codes8 import PAD, encode8
from lists import Lists
from python import (
    VIEW,
    Words,
    acquire,
    held_at,
    in_capsule,
    length,
    method,
    new_module,
    new_number,
    new_table,
    number,
    numbers,
    raised,
    refuse,
    release,
    variant,
)
from search import CODES1, EXACT, Index, LISTS, LONGEST, Plan, answer_all, scratch_bytes

comptime NAME: StaticString = "aiki.index"
comptime PARTS = 4  # rows, codes8, scales, codes1
comptime DIM = PARTS * VIEW
comptime CAPACITY = DIM + 1
comptime CODED = DIM + 2
comptime WORDS = DIM + 3

comptime LISTS_NAME: StaticString = "aiki.lists"  # heads, links, ids, codes; dim, lists, blocks
comptime COUNT = DIM + 1
comptime BLOCKS = DIM + 2

comptime LEAST_DIM = 1
comptime MOST_DIM = 4096
comptime MOST_DEPTH = 15000
comptime SETTINGS = 8  # words: method, n, k, depth, few, guess, cosine, probes


def forget(capsule: Int, name: StaticString):
    """Give a capsule's four buffers back."""
    var at = held_at(capsule, name)
    if at == 0:
        return
    var w = Words(unsafe_from_address=at)
    for part in range(PARTS):
        release(w.unsafe_offset(part * VIEW))
    external_call["PyMem_RawFree", NoneType](at)


def forget_index(capsule: Int) abi("C") -> None:
    """Destructor of an index's capsule."""
    forget(capsule, NAME)


def forget_lists(capsule: Int) abi("C") -> None:
    """Destructor of a coarse index's capsule."""
    forget(capsule, LISTS_NAME)


def hold_parts(w: Words, args: Words, writable: Bool) -> Bool:
    """Hold the four buffers of an index and check their lengths against capacity and dim."""
    var dim = w[unsafe_offset=DIM]
    var capacity = w[unsafe_offset=CAPACITY]
    if dim < LEAST_DIM or dim > MOST_DIM or capacity < 0 or capacity > 0x7FFF_FFFF:
        _ = refuse("ValueError", "dimension or capacity out of range")
        return False
    for part in range(PARTS):
        if not acquire(
            args[unsafe_offset=part], w.unsafe_offset(part * VIEW), writable and part > 0
        ):
            return False
    w[unsafe_offset=CODED] = Int(length(w.unsafe_offset(VIEW)) > 0)
    var fits = length(w) >= capacity * dim * 4
    if w[unsafe_offset=CODED] != 0:
        fits = fits and length(w.unsafe_offset(VIEW)) >= capacity * round_up(dim, PAD)
        fits = fits and length(w.unsafe_offset(2 * VIEW)) >= capacity * 4
        fits = fits and length(w.unsafe_offset(3 * VIEW)) >= round_up(
            capacity, BLOCK_ROWS
        ) * sign_bytes(dim)
    if not fits:
        _ = refuse("ValueError", "a buffer is too short for capacity and dimension")
    return fits


def bind(module: Int, args: Words, count: Int) abi("C") -> Int:
    """Take (rows, codes8, scales, codes1, capacity, dim): a capsule that holds the buffers. The
    codes may be empty buffers; then only exact searches are possible.
    """
    if count != 6:
        return refuse("TypeError", "bind() takes 6 arguments")
    var at = external_call["PyMem_RawCalloc", Int](WORDS, 8)
    if at == 0:
        return refuse("MemoryError", "no memory for an index")
    var w = Words(unsafe_from_address=at)
    w[unsafe_offset=CAPACITY] = number(args[unsafe_offset=4])
    w[unsafe_offset=DIM] = number(args[unsafe_offset=5])
    if not raised() and hold_parts(w, args, False):
        var capsule = in_capsule(at, NAME, forget_index)
        if capsule != 0:
            return capsule
    for part in range(PARTS):
        release(w.unsafe_offset(part * VIEW))
    external_call["PyMem_RawFree", NoneType](at)
    return 0


def encode(module: Int, args: Words, count: Int) abi("C") -> Int:
    """Take (rows, codes8, scales, codes1, capacity, dim, first, last): write the codes of rows
    [first, last).
    """
    if count != 8:
        return refuse("TypeError", "encode() takes 8 arguments")
    var at = external_call["PyMem_RawCalloc", Int](WORDS, 8)
    if at == 0:
        return refuse("MemoryError", "no memory for an index")
    var w = Words(unsafe_from_address=at)
    w[unsafe_offset=CAPACITY] = number(args[unsafe_offset=4])
    w[unsafe_offset=DIM] = number(args[unsafe_offset=5])
    var first = number(args[unsafe_offset=6])
    var last = number(args[unsafe_offset=7])
    var ok = not raised() and hold_parts(w, args, True)
    if ok and w[unsafe_offset=CODED] == 0:
        ok = False
        _ = refuse("ValueError", "no room for codes")
    if ok and (first < 0 or first > last or last > w[unsafe_offset=CAPACITY]):
        ok = False
        _ = refuse("ValueError", "rows out of range")
    if ok:
        var dim = w[unsafe_offset=DIM]
        var rows = Floats(unsafe_from_address=w[unsafe_offset=0])
        var codes8 = Bytes(unsafe_from_address=w[unsafe_offset=VIEW])
        var scales = Floats(unsafe_from_address=w[unsafe_offset=2 * VIEW])
        var codes1 = Bytes(unsafe_from_address=w[unsafe_offset=3 * VIEW])
        var thread = external_call["PyEval_SaveThread", Int]()
        encode8(rows, first, last, dim, codes8, scales)
        encode1(rows, first, last, dim, codes1)
        external_call["PyEval_RestoreThread", NoneType](thread)
    for part in range(PARTS):
        release(w.unsafe_offset(part * VIEW))
    external_call["PyMem_RawFree", NoneType](at)
    return new_number(last - first) if ok else 0


def bind_lists(module: Int, args: Words, count: Int) abi("C") -> Int:
    """Take (heads, links, ids, codes, dim): a capsule that holds the buffers of a coarse index,
    whose numbers of lists and of blocks are the lengths of heads and links.
    """
    if count != 5:
        return refuse("TypeError", "bind_lists() takes 5 arguments")
    var at = external_call["PyMem_RawCalloc", Int](WORDS, 8)
    if at == 0:
        return refuse("MemoryError", "no memory for a coarse index")
    var w = Words(unsafe_from_address=at)
    var dim = number(args[unsafe_offset=4])
    var ok = not raised()
    for part in range(PARTS):
        ok = ok and acquire(args[unsafe_offset=part], w.unsafe_offset(part * VIEW), False)
    if ok:
        var blocks = length(w.unsafe_offset(VIEW)) // 4
        ok = dim >= LEAST_DIM and dim <= MOST_DIM
        ok = ok and length(w.unsafe_offset(2 * VIEW)) >= blocks * BLOCK_ROWS * 4
        ok = ok and length(w.unsafe_offset(3 * VIEW)) >= blocks * BLOCK_ROWS * sign_bytes(dim)
        w[unsafe_offset=DIM] = dim
        w[unsafe_offset=COUNT] = length(w) // 4
        w[unsafe_offset=BLOCKS] = blocks
        if not ok:
            _ = refuse("ValueError", "a buffer is too short for the coarse index")
    if ok:
        var capsule = in_capsule(at, LISTS_NAME, forget_lists)
        if capsule != 0:
            return capsule
    for part in range(PARTS):
        release(w.unsafe_offset(part * VIEW))
    external_call["PyMem_RawFree", NoneType](at)
    return 0


def lists_of(capsule: Int, dim: Int) -> Lists:
    """The coarse index in a capsule; one without lists, and an exception set, when it is none or
    of another dimension. A capsule of 0 stands for no coarse index.
    """
    var none = Lists(
        Ints(unsafe_from_address=8),
        Ints(unsafe_from_address=8),
        Counts(unsafe_from_address=8),
        Bytes(unsafe_from_address=8),
        0,
        0,
    )
    if capsule == 0:
        return none
    var at = held_at(capsule, LISTS_NAME)
    if at == 0:
        return none
    var w = Words(unsafe_from_address=at)
    if w[unsafe_offset=DIM] != dim:
        _ = refuse("ValueError", "the coarse index has another dimension")
        return none
    return Lists(
        Ints(unsafe_from_address=w[unsafe_offset=0]),
        Ints(unsafe_from_address=w[unsafe_offset=VIEW]),
        Counts(unsafe_from_address=w[unsafe_offset=2 * VIEW]),
        Bytes(unsafe_from_address=w[unsafe_offset=3 * VIEW]),
        w[unsafe_offset=COUNT],
        w[unsafe_offset=BLOCKS],
    )


def search(module: Int, args: Words, count: Int) abi("C") -> Int:
    """Take (index, settings, queries, bitmap, scores, rows), and for searches in lists (lists,
    chosen) too: write k scores (float32) and k row numbers (int64) a query; returns the least
    number of rows found for a query, or -1 for a query that is not finite or longer than 1e16.

    The settings are bytes: eight 64-bit numbers, method, n, k, depth, few, guess, cosine and
    probes. An empty bitmap allows every row; otherwise bit i, lowest first, allows row i. `guess`
    says that most rows are allowed. `chosen` has `probes` list numbers (int64) a query.
    """
    if count != 6 and count != 8:
        return refuse("TypeError", "search() takes 6 or 8 arguments")
    var at = held_at(args[unsafe_offset=0], NAME)
    if at == 0:
        return 0
    var w = Words(unsafe_from_address=at)
    var set = numbers(args[unsafe_offset=1], SETTINGS)
    if raised():
        return 0
    var method = set[unsafe_offset=0]
    var n = set[unsafe_offset=1]
    var k = set[unsafe_offset=2]
    var depth = set[unsafe_offset=3]
    var few = set[unsafe_offset=4]
    var probes = set[unsafe_offset=7]
    var dim = w[unsafe_offset=DIM]
    var listed = count == 8
    var lists = lists_of(args[unsafe_offset=6] if listed else 0, dim)
    if listed and raised():
        return 0
    # On the heap: what the interpreter writes through an address that was passed as a number
    # is not seen by the optimiser when the memory lies on this function's stack.
    var held = external_call["PyMem_RawCalloc", Int](5 * VIEW, 8)
    if held == 0:
        return refuse("MemoryError", "no memory for a search")
    var views = Words(unsafe_from_address=held)
    var queries = views
    var bitmap = views.unsafe_offset(VIEW)
    var scores = views.unsafe_offset(2 * VIEW)
    var found = views.unsafe_offset(3 * VIEW)
    var chosen = views.unsafe_offset(4 * VIEW)
    var result = 0
    if (
        acquire(args[unsafe_offset=2], queries, False)
        and acquire(args[unsafe_offset=3], bitmap, False)
        and acquire(args[unsafe_offset=4], scores, True)
        and acquire(args[unsafe_offset=5], found, True)
        and (not listed or acquire(args[unsafe_offset=7], chosen, False))
    ):
        var total = length(queries) // (4 * dim)
        var filtered = length(bitmap) > 0
        if method < EXACT or method > LISTS or (method > EXACT and w[unsafe_offset=CODED] == 0):
            _ = refuse("ValueError", "no such method, or no codes for it")
        elif n < 0 or n > w[unsafe_offset=CAPACITY]:
            _ = refuse("ValueError", "more rows asked for than the index holds")
        elif (
            k < 1
            or few < k
            or few > MOST_DEPTH
            or (method >= CODES1 and (depth < few or depth > MOST_DEPTH))
        ):
            _ = refuse("ValueError", "needs 1 <= k <= few <= depth <= 15000")
        elif total * 4 * dim != length(queries):
            _ = refuse("ValueError", "queries do not fit the dimension")
        elif length(scores) < total * k * 4 or length(found) < total * k * 8:
            _ = refuse("ValueError", "outputs are too short")
        elif filtered and length(bitmap) < (n + 7) // 8:
            _ = refuse("ValueError", "the bitmap is too short")
        elif listed != (method == LISTS) or (
            listed and (probes < 0 or probes > lists.lists or length(chosen) // 8 < total * probes)
        ):
            _ = refuse("ValueError", "lists are for searches in lists, some for every query")
        else:
            var plan = Plan(
                method,
                n,
                k,
                depth if method >= CODES1 else few,
                few,
                set[unsafe_offset=6] != 0,
                set[unsafe_offset=5] != 0,
                filtered,
                Bytes(unsafe_from_address=bitmap[unsafe_offset=0] if filtered else 8),
                probes if listed else 0,
            )
            var index = Index(
                Floats(unsafe_from_address=w[unsafe_offset=0]),
                Bytes(unsafe_from_address=w[unsafe_offset=VIEW]),
                Floats(unsafe_from_address=w[unsafe_offset=2 * VIEW]),
                Bytes(unsafe_from_address=w[unsafe_offset=3 * VIEW]),
                dim,
                lists,
            )
            var thread = external_call["PyEval_SaveThread", Int]()
            var scratch = external_call["aligned_alloc", Int](
                64, round_up(scratch_bytes(dim, plan), 64)
            )
            var least = -2
            if scratch != 0:
                least = answer_all(
                    index,
                    plan,
                    Floats(unsafe_from_address=queries[unsafe_offset=0]),
                    total,
                    Longs(unsafe_from_address=chosen[unsafe_offset=0] if listed else 8),
                    Bytes(unsafe_from_address=scratch),
                    Floats(unsafe_from_address=scores[unsafe_offset=0]),
                    Longs(unsafe_from_address=found[unsafe_offset=0]),
                )
                external_call["free", NoneType](scratch)
            external_call["PyEval_RestoreThread", NoneType](thread)
            if least == -2:
                result = refuse("MemoryError", "no memory for a search")
            else:
                result = new_number(least)
    for part in range(5):
        release(views.unsafe_offset(part * VIEW))
    external_call["PyMem_RawFree", NoneType](held)
    return result


@export
def PyInit_native_search() abi("C") -> Int:
    """Make the module."""
    var methods = new_table(5)
    method(methods, 0, "bind", bind)
    method(methods, 1, "encode", encode)
    method(methods, 2, "search", search)
    method(methods, 3, "variant", variant)
    method(methods, 4, "bind_lists", bind_lists)
    return new_module("native_search", methods)
