"""The extension module: CPython's C API, called from Mojo without any run-time library.

Functions take everything through the buffer protocol and compare every length with what
the kernels will touch before anything is read; the interpreter's lock is released around
the work. An index's buffers are held by a capsule, so they can neither move nor vanish
while it lives.

The layout of Py_buffer (ten words: buf, obj, len, itemsize, ...), PyMethodDef and
PyModuleDef is that of CPython 3.11 and later on 64-bit machines.
"""
from std.ffi import external_call
from std.memory import Pointer
from lanes import (
    BLOCK_ROWS,
    Bytes,
    Doubles,
    Floats,
    HAS_VBMI,
    HAS_VNNI,
    Longs,
    round_up,
)
from codes1 import encode1, sign_bytes
from codes8 import PAD, encode8
from search import Index, LONGEST, Plan, answer_all, scratch_bytes

comptime Words = Pointer[Int, MutUntrackedOrigin]
comptime Function = def(Int, Words, Int) thin abi("C") -> Int
comptime Destructor = def(Int) thin abi("C") -> None

comptime NAME: StaticString = "aiki.index"
comptime VIEW = 10  # words of a Py_buffer
comptime PARTS = 4  # rows, codes8, scales, codes1
comptime DIM = PARTS * VIEW
comptime CAPACITY = DIM + 1
comptime CODED = DIM + 2
comptime WORDS = DIM + 3

comptime LEAST_DIM = 1
comptime MOST_DIM = 4096
comptime MOST_DEPTH = 15000


@always_inline
def text(s: StaticString) -> Int:
    """The address of a literal's bytes; literals end with a zero byte."""
    return Int(s.unsafe_ptr())


def refuse(kind: StaticString, message: StaticString) -> Int:
    """Set a Python exception of a built-in class; returns the null object."""
    var builtins = external_call["PyEval_GetBuiltins", Int]()
    var exception = external_call["PyDict_GetItemString", Int](builtins, text(kind))
    external_call["PyErr_SetString", NoneType](exception, text(message))
    return 0


@always_inline
def number(o: Int) -> Int:
    """A Python integer; -1 and an exception set when it is none."""
    return external_call["PyLong_AsSsize_t", Int](o)


@always_inline
def raised() -> Bool:
    """Whether an exception is set."""
    return external_call["PyErr_Occurred", Int]() != 0


@always_inline
def new_number(n: Int) -> Int:
    """A Python integer."""
    return external_call["PyLong_FromSsize_t", Int](n)


@always_inline
def acquire(o: Int, view: Words, writable: Bool) -> Bool:
    """Hold an object's contiguous buffer."""
    return (
        external_call["PyObject_GetBuffer", Int32](o, Int(view), Int32(1) if writable else Int32(0))
        == 0
    )


@always_inline
def release(view: Words):
    """Give a buffer back; a zeroed view is left alone by Python."""
    external_call["PyBuffer_Release", NoneType](Int(view))


@always_inline
def length(view: Words) -> Int:
    """Bytes of a held buffer."""
    return view[unsafe_offset=2]


def forget_index(capsule: Int) abi("C") -> None:
    """Destructor of a capsule: give its buffers back."""
    var at = external_call["PyCapsule_GetPointer", Int](capsule, text(NAME))
    if at == 0:
        return
    var w = Words(unsafe_from_address=at)
    for part in range(PARTS):
        release(w.unsafe_offset(part * VIEW))
    external_call["PyMem_RawFree", NoneType](at)


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
        var destructor: Destructor = forget_index
        var capsule = external_call["PyCapsule_New", Int](
            at, text(NAME), Pointer(to=destructor).unsafe_bitcast[Int]()[]
        )
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


def search(module: Int, args: Words, count: Int) abi("C") -> Int:
    """Take (index, method, queries, n, k, depth, few, bitmap, guess, cosine, scores, rows): write
    k scores (float32) and k row numbers (int64) a query; returns the least number of rows found
    for a query, or -1 for a query that is not finite or longer than 1e16.

    An empty bitmap allows every row; otherwise bit i, lowest first, allows row i. `guess` says
    that most rows are allowed.
    """
    if count != 12:
        return refuse("TypeError", "search() takes 12 arguments")
    var at = external_call["PyCapsule_GetPointer", Int](args[unsafe_offset=0], text(NAME))
    if at == 0:
        return 0
    var w = Words(unsafe_from_address=at)
    var method = number(args[unsafe_offset=1])
    var n = number(args[unsafe_offset=3])
    var k = number(args[unsafe_offset=4])
    var depth = number(args[unsafe_offset=5])
    var few = number(args[unsafe_offset=6])
    var guess = number(args[unsafe_offset=8])
    var cosine = number(args[unsafe_offset=9])
    if raised():
        return 0
    # On the heap: what the interpreter writes through an address that was passed as a number
    # is not seen by the optimiser when the memory lies on this function's stack.
    var held = external_call["PyMem_RawCalloc", Int](4 * VIEW, 8)
    if held == 0:
        return refuse("MemoryError", "no memory for a search")
    var views = Words(unsafe_from_address=held)
    var queries = views
    var bitmap = views.unsafe_offset(VIEW)
    var scores = views.unsafe_offset(2 * VIEW)
    var found = views.unsafe_offset(3 * VIEW)
    var result = 0
    if (
        acquire(args[unsafe_offset=2], queries, False)
        and acquire(args[unsafe_offset=7], bitmap, False)
        and acquire(args[unsafe_offset=10], scores, True)
        and acquire(args[unsafe_offset=11], found, True)
    ):
        var dim = w[unsafe_offset=DIM]
        var total = length(queries) // (4 * dim)
        var filtered = length(bitmap) > 0
        if method < 0 or method > 2 or (method > 0 and w[unsafe_offset=CODED] == 0):
            _ = refuse("ValueError", "no such method, or no codes for it")
        elif n < 0 or n > w[unsafe_offset=CAPACITY]:
            _ = refuse("ValueError", "more rows asked for than the index holds")
        elif (
            k < 1
            or few < k
            or few > MOST_DEPTH
            or (method == 2 and (depth < few or depth > MOST_DEPTH))
        ):
            _ = refuse("ValueError", "needs 1 <= k <= few <= depth <= 15000")
        elif total * 4 * dim != length(queries):
            _ = refuse("ValueError", "queries do not fit the dimension")
        elif length(scores) < total * k * 4 or length(found) < total * k * 8:
            _ = refuse("ValueError", "outputs are too short")
        elif filtered and length(bitmap) < (n + 7) // 8:
            _ = refuse("ValueError", "the bitmap is too short")
        else:
            var plan = Plan(
                method,
                n,
                k,
                depth if method == 2 else few,
                few,
                cosine != 0,
                guess != 0,
                filtered,
                Bytes(unsafe_from_address=bitmap[unsafe_offset=0] if filtered else 8),
            )
            var index = Index(
                Floats(unsafe_from_address=w[unsafe_offset=0]),
                Bytes(unsafe_from_address=w[unsafe_offset=VIEW]),
                Floats(unsafe_from_address=w[unsafe_offset=2 * VIEW]),
                Bytes(unsafe_from_address=w[unsafe_offset=3 * VIEW]),
                dim,
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
    for part in range(4):
        release(views.unsafe_offset(part * VIEW))
    external_call["PyMem_RawFree", NoneType](held)
    return result


def variant(module: Int, args: Words, count: Int) abi("C") -> Int:
    """Which variant this is: 2 VBMI, 1 VNNI, 0 AVX2."""
    comptime if HAS_VBMI:
        return new_number(2)
    elif HAS_VNNI:
        return new_number(1)
    else:
        return new_number(0)


@always_inline
def method(table: Words, i: Int, name: StaticString, function: Function):
    """Fill a PyMethodDef: name, function, METH_FASTCALL, no docstring."""
    var f = function
    table[unsafe_offset=4 * i] = text(name)
    table[unsafe_offset=4 * i + 1] = Pointer(to=f).unsafe_bitcast[Int]()[]
    table[unsafe_offset=4 * i + 2] = 0x80
    table[unsafe_offset=4 * i + 3] = 0


@export
def PyInit_native_search() abi("C") -> Int:
    """Make the module; its two tables live as long as the process."""
    var definition = Words(unsafe_from_address=external_call["PyMem_RawCalloc", Int](13, 8))
    var methods = Words(unsafe_from_address=external_call["PyMem_RawCalloc", Int](5 * 4, 8))
    method(methods, 0, "bind", bind)
    method(methods, 1, "encode", encode)
    method(methods, 2, "search", search)
    method(methods, 3, "variant", variant)
    definition[unsafe_offset=0] = 1  # reference count of the definition
    definition[unsafe_offset=5] = text("native_search")
    definition[unsafe_offset=7] = -1  # no state of its own
    definition[unsafe_offset=8] = Int(methods)
    return external_call["PyModule_Create2", Int](Int(definition), Int32(1013))
