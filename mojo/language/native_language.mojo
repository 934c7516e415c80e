"""The extension module: CPython's C API, called from Mojo without any run-time library.

`open` copies a plan, checks it against the arena of weights and keeps both in a capsule; `run`
compares every length with what the kernels will touch before anything is read. The interpreter's
lock is released around the work. Helpers call `serve` and stay in it until `dismiss`.
"""
from std.ffi import external_call
from forward import run
from job import Job, SEGMENT
from model import (
    EPSILON,
    GROUPS,
    HEADER,
    LAYERS,
    MATRIX,
    MOST_LAYERS,
    Model,
    NORMS,
    PER_LAYER,
    ROTARY,
    VOCABULARY,
    plan_scratch,
    settle,
    sound_header,
)
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
from registers import Ints, TILE, WIDE, Words, round_up
from team import (
    ARRIVED,
    JOB_BEFORE,
    LEAVE,
    Place,
    TEAM_BYTES,
    dismiss,
    job_of,
    next_job,
    read,
    start,
)

comptime MODEL: StaticString = "aiki.language.model"
comptime TEAM: StaticString = "aiki.language.team"
comptime FIXED = 11  # arguments of `run` before the caches
comptime MOST_SEGMENTS = 64
comptime MOST_ROWS = 4096
comptime MOST_THREADS = 64


def forget_model(capsule: Int) abi("C") -> None:
    """Give the arena back. The words before the model's own are its buffer."""
    var at = held_at(capsule, MODEL)
    if at != 0:
        release(Words(unsafe_from_address=at))
        external_call["PyMem_RawFree", NoneType](at)


def forget_team(capsule: Int) abi("C") -> None:
    """Free a team; its helpers hold references, so none is left."""
    var at = held_at(capsule, TEAM)
    if at != 0:
        external_call["free", NoneType](at)


def open_model(module: Int, args: Words, count: Int) abi("C") -> Int:
    """Take (plan, arena): a capsule. The plan is int64: a header, matrices, vectors."""
    if count != 2:
        return refuse("TypeError", "open() takes 2 arguments")
    var held = external_call["PyMem_RawCalloc", Int](VIEW, 8)
    if held == 0:
        return refuse("MemoryError", "no memory for a model")
    var plan = Words(unsafe_from_address=held)
    if not acquire(args[unsafe_offset=0], plan, False):
        external_call["PyMem_RawFree", NoneType](held)
        return 0
    var words = length(plan) // 8
    var given = Words(unsafe_from_address=plan[unsafe_offset=0])
    var result = 0
    var at = 0
    var layers = 0
    if words >= HEADER:
        layers = given[unsafe_offset=LAYERS]
    if (
        layers < 1
        or layers > MOST_LAYERS
        or words != HEADER + (2 + layers * PER_LAYER) * MATRIX + 1 + layers * NORMS
    ):
        _ = refuse("ValueError", "the plan has another length than its layers need")
    else:
        at = external_call["PyMem_RawCalloc", Int](VIEW + words, 8)
        if at == 0:
            _ = refuse("MemoryError", "no memory for a model")
    if at != 0:
        var w = Words(unsafe_from_address=at)
        var own = w.unsafe_offset(VIEW)
        for i in range(words):
            own[unsafe_offset=i] = given[unsafe_offset=i]
        var model = Model(own)
        if acquire(args[unsafe_offset=1], w, False):
            if w[unsafe_offset=0] % 64 != 0:
                _ = refuse("ValueError", "the arena does not begin on a cache line")
            elif not sound_header(model) or not settle(model, w[unsafe_offset=0], length(w)):
                _ = refuse("ValueError", "the plan does not fit the arena")
            else:
                result = in_capsule(at, MODEL, forget_model)
            if result == 0:
                release(w)
        if result == 0:
            external_call["PyMem_RawFree", NoneType](at)
    release(plan)
    external_call["PyMem_RawFree", NoneType](held)
    return result


@always_inline
def model_of(capsule: Int) -> Model:
    """The model of a capsule; a null one and an exception when it is something else."""
    var at = held_at(capsule, MODEL)
    return Model(Words(unsafe_from_address=at + VIEW * 8 if at != 0 else 0))


@always_inline
def fair(rows: Int, segments: Int, threads: Int) -> Bool:
    """Whether these numbers may be planned for at all."""
    return (
        rows >= 1
        and rows <= MOST_ROWS
        and segments >= 1
        and segments <= MOST_SEGMENTS
        and segments <= rows
        and threads >= 1
        and threads <= MOST_THREADS
    )


def room(module: Int, args: Words, count: Int) abi("C") -> Int:
    """Take (model, rows, segments, threads): bytes of working memory that `run` needs."""
    if count != 4:
        return refuse("TypeError", "room() takes 4 arguments")
    var m = model_of(args[unsafe_offset=0])
    var rows = number(args[unsafe_offset=1])
    var segments = number(args[unsafe_offset=2])
    var threads = number(args[unsafe_offset=3])
    if raised():
        return 0
    if not fair(rows, segments, threads):
        return refuse("ValueError", "rows, segments or threads out of range")
    return new_number(plan_scratch(m, rows, segments, threads).total)


def make_team(module: Int, args: Words, count: Int) abi("C") -> Int:
    """A capsule with the memory through which threads meet."""
    var at = external_call["aligned_alloc", Int](64, round_up(TEAM_BYTES, 64))
    if at == 0:
        return refuse("MemoryError", "no memory for a team")
    var words = Ints(unsafe_from_address=at)
    for i in range(TEAM_BYTES // 4):
        words[unsafe_offset=i] = 0
    return in_capsule(at, TEAM, forget_team)


def serve(module: Int, args: Words, count: Int) abi("C") -> Int:
    """Take (team, number): work as helper `number` (from 1) until the team is dismissed."""
    if count != 2:
        return refuse("TypeError", "serve() takes 2 arguments")
    var at = held_at(args[unsafe_offset=0], TEAM)
    var helper = number(args[unsafe_offset=1])
    if raised() or at == 0:
        return 0
    if helper < 1 or helper >= MOST_THREADS:
        return refuse("ValueError", "helpers are numbered from 1")
    var team = Ints(unsafe_from_address=at)
    var thread = external_call["PyEval_SaveThread", Int]()
    var seen = Int32(0)
    while read(team.unsafe_offset(LEAVE)) == 0:
        seen = next_job(team, seen)
        if read(team.unsafe_offset(LEAVE)) != 0:
            break
        var job = Job(job_of(team))
        if helper < job.threads():
            run(job, Place(team, helper))
    external_call["PyEval_RestoreThread", NoneType](thread)
    return new_number(helper)


def send_home(module: Int, args: Words, count: Int) abi("C") -> Int:
    """Take (team): its helpers return from `serve`."""
    if count != 1:
        return refuse("TypeError", "dismiss() takes 1 argument")
    var at = held_at(args[unsafe_offset=0], TEAM)
    if at == 0:
        return 0
    dismiss(Ints(unsafe_from_address=at))
    return new_number(0)


def fits(m: Model, w: Words, args: Words, caches: Int, threads: Int) -> Bool:
    """Compare every length of a call with what will be touched. `w` holds views: segments, tokens,
    angles, scratch, logits, then the caches.
    """
    var segments = Words(unsafe_from_address=w[unsafe_offset=0])
    var tokens = Ints(unsafe_from_address=w[unsafe_offset=VIEW])
    var rows = length(w.unsafe_offset(VIEW)) // 4
    if length(w) != caches * SEGMENT * 8 or not fair(rows, caches, threads):
        return False
    var positions = 1 << 40
    if m.size(ROTARY) > 0:
        positions = length(w.unsafe_offset(2 * VIEW)) // (4 * m.size(ROTARY))
    var sum = 0
    for i in range(caches):
        var own = segments[unsafe_offset=i * SEGMENT]
        var before = segments[unsafe_offset=i * SEGMENT + 1]
        var capacity = segments[unsafe_offset=i * SEGMENT + 2]
        if own < 1 or own > rows or before < 0 or capacity < 16 or capacity > 1 << 24:
            return False
        if before > capacity - own or before + own > positions or capacity % 16 != 0:
            return False
        var halves = m.size(LAYERS) * m.size(GROUPS) * m.cache_halves(capacity)
        if length(w.unsafe_offset((5 + i) * VIEW)) < 2 * halves:
            return False
        sum += own
    if sum != rows:
        return False
    for i in range(rows):
        var token = Int(tokens[unsafe_offset=i])
        if token < 0 or token >= m.size(VOCABULARY):
            return False
    var padded = caches
    if caches > 2:
        padded = 4 if caches <= 4 else round_up(caches, WIDE)
    var scores = padded * round_up(m.size(VOCABULARY), TILE) * 4
    return (
        length(w.unsafe_offset(3 * VIEW)) >= plan_scratch(m, rows, caches, threads).total
        and w[unsafe_offset=3 * VIEW] % 64 == 0
        and length(w.unsafe_offset(4 * VIEW)) >= scores
    )


def run_job(module: Int, args: Words, count: Int) abi("C") -> Int:
    """Take (model, team, threads, first layer, last layer, scores wanted, segments, tokens, angles,
    scratch, logits, cache, ...): the layers [first, last) for all tokens.

    segments int64 (n, 3): tokens, tokens before them in the cache, capacity; tokens int32; angles
    float32 (positions, rotary): cosines, then sines; logits float32; one cache a segment, float16.
    Layers of the same tokens must be run one after the other with the same scratch.
    """
    var caches = count - FIXED
    if caches < 1 or caches > MOST_SEGMENTS:
        return refuse("TypeError", "run() takes 11 arguments and from 1 to 64 caches")
    var m = model_of(args[unsafe_offset=0])
    var team = held_at(args[unsafe_offset=1], TEAM)
    var threads = number(args[unsafe_offset=2])
    var first = number(args[unsafe_offset=3])
    var last = number(args[unsafe_offset=4])
    var wanted = number(args[unsafe_offset=5])
    if raised() or team == 0:
        return 0
    var views = 5 + caches
    var held = external_call["PyMem_RawCalloc", Int](views * VIEW + caches, 8)
    if held == 0:
        return refuse("MemoryError", "no memory for a call")
    var w = Words(unsafe_from_address=held)
    var ok = True
    for i in range(views):
        if ok:
            ok = acquire(args[unsafe_offset=FIXED - 5 + i], w.unsafe_offset(i * VIEW), i > 2)
    if ok and (
        first < 0
        or first > last
        or last > m.size(LAYERS)
        or (wanted != 0 and last != m.size(LAYERS))
        or not fits(m, w, args, caches, threads)
    ):
        ok = False
        _ = refuse("ValueError", "a buffer is too short, or a number out of range")
    if ok:
        var table = w.unsafe_offset(views * VIEW)
        for i in range(caches):
            table[unsafe_offset=i] = w[unsafe_offset=(5 + i) * VIEW]
        var lines = Ints(unsafe_from_address=team)
        var words = job_of(lines)
        words[unsafe_offset=0] = Int(m.words)
        words[unsafe_offset=1] = length(w.unsafe_offset(VIEW)) // 4
        words[unsafe_offset=2] = caches
        words[unsafe_offset=3] = w[unsafe_offset=0]
        words[unsafe_offset=4] = Int(table)
        words[unsafe_offset=5] = w[unsafe_offset=VIEW]
        words[unsafe_offset=6] = w[unsafe_offset=2 * VIEW]
        words[unsafe_offset=7] = w[unsafe_offset=4 * VIEW]
        words[unsafe_offset=8] = w[unsafe_offset=3 * VIEW]
        words[unsafe_offset=9] = first
        words[unsafe_offset=10] = last
        words[unsafe_offset=11] = threads
        words[unsafe_offset=12] = wanted
        words[unsafe_offset=JOB_BEFORE] = Int(read(lines.unsafe_offset(ARRIVED)))
        var thread = external_call["PyEval_SaveThread", Int]()
        if threads > 1:
            start(lines)
        run(Job(words), Place(lines, 0))
        external_call["PyEval_RestoreThread", NoneType](thread)
    for i in range(views):
        release(w.unsafe_offset(i * VIEW))
    external_call["PyMem_RawFree", NoneType](held)
    return new_number(last) if ok else 0


@export
def PyInit_native_language() abi("C") -> Int:
    """Make the module."""
    var methods = new_table(7)
    method(methods, 0, "open", open_model)
    method(methods, 1, "room", room)
    method(methods, 2, "team", make_team)
    method(methods, 3, "serve", serve)
    method(methods, 4, "dismiss", send_home)
    method(methods, 5, "run", run_job)
    method(methods, 6, "variant", variant)
    return new_module("native_language", methods)
