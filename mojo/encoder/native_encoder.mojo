"""The extension module: CPython's C API, called from Mojo without any run-time library.

Functions take everything through the buffer protocol and compare every length with what
the kernels will touch before anything is read; the interpreter's lock is released around
the work. The buffers of a model and of a vocabulary are held by capsules, so they can
neither move nor vanish while those live.

The layout of Py_buffer (ten words: buf, obj, len, itemsize, ...), PyMethodDef and
PyModuleDef is that of CPython 3.11 and later on 64-bit machines.
"""
from std.ffi import external_call
from encode import Model, encode, fits, image_bytes, scratch_bytes, words_bytes
from pieces import Pieces, cut, mapped_length
from pieces import scratch_bytes as cut_bytes
from python import (
    VIEW,
    acquire,
    held_at,
    in_capsule,
    length,
    method,
    new_module,
    new_number,
    new_table,
    number,
    raised,
    refuse,
    release,
    variant,
)
from registers import Bytes, Floats, Ints, LINE, Words

comptime MODEL: StaticString = "aiki.encoder"
comptime VOCABULARY: StaticString = "aiki.pieces"
comptime VIEWS = 2  # the most that a capsule holds
comptime NUMBERS = 8  # beside the views: a shape
comptime MOST_TOKENS = 1 << 20


def new_words(count: Int) -> Int:
    """Zeroed words on the heap: what the interpreter writes through an address that was
    passed as a number is not seen by the optimiser when the memory lies on the stack.
    """
    return external_call["PyMem_RawCalloc", Int](count, 8)


def drop(w: Words, views: Int):
    """Give back the views at the start of some words, and the words."""
    for i in range(views):
        release(w.unsafe_offset(i * VIEW))
    external_call["PyMem_RawFree", NoneType](Int(w))


def forget_model(capsule: Int) abi("C") -> None:
    """Destructor of a model's capsule."""
    var at = held_at(capsule, MODEL)
    if at != 0:
        drop(Words(unsafe_from_address=at), VIEWS)


def forget_pieces(capsule: Int) abi("C") -> None:
    """Destructor of a vocabulary's capsule."""
    var at = held_at(capsule, VOCABULARY)
    if at != 0:
        drop(Words(unsafe_from_address=at), VIEWS)


def numbers(w: Words, args: Words, count: Int) -> Bool:
    """Read integers behind the views; False when one is none."""
    for i in range(count):
        w[unsafe_offset=VIEWS * VIEW + i] = number(args[unsafe_offset=i])
        if raised():
            return False
    return True


@always_inline
def model_of(w: Words) -> Model:
    """The model that the words describe."""
    var shape = w.unsafe_offset(VIEWS * VIEW)
    return Model(
        Bytes(unsafe_from_address=w[unsafe_offset=0]),
        Bytes(unsafe_from_address=w[unsafe_offset=VIEW]),
        shape[unsafe_offset=0],
        shape[unsafe_offset=1],
        shape[unsafe_offset=2],
        shape[unsafe_offset=3],
        shape[unsafe_offset=4],
        shape[unsafe_offset=5],
        shape[unsafe_offset=6],
    )


@always_inline
def pieces_of(w: Words) -> Pieces:
    """The vocabulary that the words describe."""
    var shape = w.unsafe_offset(VIEWS * VIEW)
    return Pieces(
        Bytes(unsafe_from_address=w[unsafe_offset=0]),
        shape[unsafe_offset=0],
        shape[unsafe_offset=1],
        shape[unsafe_offset=2],
        shape[unsafe_offset=3],
        shape[unsafe_offset=4],
        shape[unsafe_offset=5],
        shape[unsafe_offset=6],
    )


def bind_model(module: Int, args: Words, count: Int) abi("C") -> Int:
    """Take (image, words, kind, layers, width, heads, feed, positions, vocabulary): a capsule
    that holds both buffers.
    """
    if count != 9:
        return refuse("TypeError", "bind_model() takes 9 arguments")
    var at = new_words(VIEWS * VIEW + NUMBERS)
    if at == 0:
        return refuse("MemoryError", "no memory for a model")
    var w = Words(unsafe_from_address=at)
    if (
        numbers(w, args.unsafe_offset(2), 7)
        and acquire(args[unsafe_offset=0], w, False)
        and acquire(args[unsafe_offset=1], w.unsafe_offset(VIEW), False)
    ):
        var m = model_of(w)
        if not fits(m):
            _ = refuse("ValueError", "the kernels cannot compute a model of this shape")
        elif Int(m.image) % LINE != 0:
            _ = refuse("ValueError", "the image does not begin on a cache line")
        elif length(w) < image_bytes(m) or length(w.unsafe_offset(VIEW)) < words_bytes(m):
            _ = refuse("ValueError", "a buffer is too short for the model's shape")
        else:
            var capsule = in_capsule(at, MODEL, forget_model)
            if capsule != 0:
                return capsule
    drop(w, VIEWS)
    return 0


def bind_pieces(module: Int, args: Words, count: Int) abi("C") -> Int:
    """Take (image, pieces, mapped, replacements, slots, bytes, unknown, longest): a capsule that
    holds the buffer.
    """
    if count != 8:
        return refuse("TypeError", "bind_pieces() takes 8 arguments")
    var at = new_words(VIEWS * VIEW + NUMBERS)
    if at == 0:
        return refuse("MemoryError", "no memory for a vocabulary")
    var w = Words(unsafe_from_address=at)
    if numbers(w, args.unsafe_offset(1), 7) and acquire(args[unsafe_offset=0], w, False):
        var v = pieces_of(w)
        if (
            v.pieces < 1
            or v.pieces > 1 << 24
            or v.mapped < 0
            or v.mapped > 1 << 24
            or v.replacements < 0
            or v.replacements > 1 << 24
            or v.slots < 1
            or v.slots > 1 << 26
            or v.slots & (v.slots - 1) != 0
            or v.bytes < 0
            or v.bytes > 1 << 30
            or v.unknown < 0
            or v.unknown >= v.pieces
            or v.longest < 1
            or v.longest > 1024
        ):
            _ = refuse("ValueError", "a size of the vocabulary is out of range")
        elif Int(v.image) % LINE != 0:
            _ = refuse("ValueError", "the image does not begin on a cache line")
        elif length(w) < v.length() or not v.valid():
            _ = refuse("ValueError", "the image does not hold this vocabulary")
        else:
            var capsule = in_capsule(at, VOCABULARY, forget_pieces)
            if capsule != 0:
                return capsule
    drop(w, VIEWS)
    return 0


def tokens(module: Int, args: Words, count: Int) abi("C") -> Int:
    """Take (vocabulary, text, ids): write the ids (int32) of the UTF-8 text's pieces; returns how
    many, or minus the room that is needed when the ids do not have it.
    """
    if count != 3:
        return refuse("TypeError", "tokens() takes 3 arguments")
    var at = held_at(args[unsafe_offset=0], VOCABULARY)
    if at == 0:
        return 0
    var v = pieces_of(Words(unsafe_from_address=at))
    var held = new_words(2 * VIEW)
    if held == 0:
        return refuse("MemoryError", "no memory for a text")
    var views = Words(unsafe_from_address=held)
    var ids = views.unsafe_offset(VIEW)
    var result = 0
    if acquire(args[unsafe_offset=1], views, False) and acquire(args[unsafe_offset=2], ids, True):
        var bytes = length(views)
        var room = length(ids) // 4
        var source = Bytes(unsafe_from_address=views[unsafe_offset=0] if bytes > 0 else 8)
        var thread = external_call["PyEval_SaveThread", Int]()
        var characters = mapped_length(v, source, bytes)
        var found = -characters - 1
        var scratch = 1
        if room > characters:
            scratch = external_call["malloc", Int](cut_bytes(characters))
            if scratch != 0:
                found = cut(
                    v,
                    source,
                    bytes,
                    Bytes(unsafe_from_address=scratch),
                    characters,
                    Ints(unsafe_from_address=ids[unsafe_offset=0]),
                )
                external_call["free", NoneType](scratch)
        external_call["PyEval_RestoreThread", NoneType](thread)
        if scratch == 0:
            _ = refuse("MemoryError", "no memory for a text")
        else:
            result = new_number(found)
    drop(views, 2)
    return result


def room(module: Int, args: Words, count: Int) abi("C") -> Int:
    """Take (model, tokens, longest): bytes of working memory that `encode` wants for so many
    tokens in texts of at most `longest`.
    """
    if count != 3:
        return refuse("TypeError", "room() takes 3 arguments")
    var at = held_at(args[unsafe_offset=0], MODEL)
    if at == 0:
        return 0
    var n = number(args[unsafe_offset=1])
    var longest = number(args[unsafe_offset=2])
    if raised():
        return 0
    if n < 1 or n > MOST_TOKENS or longest < 1 or longest > n:
        return refuse("ValueError", "needs 1 <= longest <= tokens <= 1048576")
    return new_number(scratch_bytes(model_of(Words(unsafe_from_address=at)), n, longest))


def longest_text(m: Model, ids: Ints, count: Int, starts: Ints, texts: Int) -> Int:
    """The length of the longest text; 0 when a number is not what it must be."""
    if starts[unsafe_offset=0] != 0 or Int(starts[unsafe_offset=texts]) != count:
        return 0
    var longest = 0
    for i in range(texts):
        var n = Int(starts[unsafe_offset=i + 1]) - Int(starts[unsafe_offset=i])
        if n < 1 or n > m.positions:
            return 0
        longest = max(longest, n)
    for i in range(count):
        var id = Int(ids[unsafe_offset=i])
        if id < 0 or id >= m.vocabulary:
            return 0
    return longest


def encode_texts(module: Int, args: Words, count: Int) abi("C") -> Int:
    """Take (model, ids, starts, scratch, means, tops): write the mean last state (float32, width)
    of every text; returns how many texts there were.

    ids and starts are int32; text i has the ids from starts[i] to starts[i + 1]. tops is empty,
    or float32 (layers, 2, width) and raised to the largest magnitudes of the columns.
    """
    if count != 6:
        return refuse("TypeError", "encode() takes 6 arguments")
    var at = held_at(args[unsafe_offset=0], MODEL)
    if at == 0:
        return 0
    var m = model_of(Words(unsafe_from_address=at))
    var held = new_words(5 * VIEW)
    if held == 0:
        return refuse("MemoryError", "no memory for a call")
    var views = Words(unsafe_from_address=held)
    var starts = views.unsafe_offset(VIEW)
    var scratch = views.unsafe_offset(2 * VIEW)
    var means = views.unsafe_offset(3 * VIEW)
    var tops = views.unsafe_offset(4 * VIEW)
    var result = 0
    if (
        acquire(args[unsafe_offset=1], views, False)
        and acquire(args[unsafe_offset=2], starts, False)
        and acquire(args[unsafe_offset=3], scratch, True)
        and acquire(args[unsafe_offset=4], means, True)
        and acquire(args[unsafe_offset=5], tops, True)
    ):
        var n = length(views) // 4
        var texts = length(starts) // 4 - 1
        if n < 1 or n > MOST_TOKENS or texts < 1 or texts > n:
            _ = refuse("ValueError", "needs 1 <= texts <= tokens <= 1048576")
        else:
            var id = Ints(unsafe_from_address=views[unsafe_offset=0])
            var start = Ints(unsafe_from_address=starts[unsafe_offset=0])
            var longest = longest_text(m, id, n, start, texts)
            if longest == 0:
                _ = refuse("ValueError", "starts or ids out of range")
            elif length(scratch) < scratch_bytes(m, n, longest):
                _ = refuse("ValueError", "the working memory is too short")
            elif length(means) < texts * m.width * 4:
                _ = refuse("ValueError", "the output is too short")
            elif length(tops) != 0 and length(tops) < m.layers * 2 * m.width * 4:
                _ = refuse("ValueError", "the tops are too short")
            else:
                var thread = external_call["PyEval_SaveThread", Int]()
                encode(
                    m,
                    id,
                    start,
                    texts,
                    Bytes(unsafe_from_address=scratch[unsafe_offset=0]),
                    Floats(unsafe_from_address=means[unsafe_offset=0]),
                    length(tops) > 0,
                    Floats(unsafe_from_address=tops[unsafe_offset=0] if length(tops) > 0 else 8),
                )
                external_call["PyEval_RestoreThread", NoneType](thread)
                result = new_number(texts)
    drop(views, 5)
    return result


@export
def PyInit_native_encoder() abi("C") -> Int:
    """Make the module."""
    var methods = new_table(6)
    method(methods, 0, "bind_model", bind_model)
    method(methods, 1, "bind_pieces", bind_pieces)
    method(methods, 2, "tokens", tokens)
    method(methods, 3, "room", room)
    method(methods, 4, "encode", encode_texts)
    method(methods, 5, "variant", variant)
    return new_module("native_encoder", methods)
