"""The tokenizer: text to the most probable sequence of pieces of a unigram vocabulary.

Characters are mapped one by one (to nothing, to a space, to others), runs of spaces become
one, a space goes in front, and spaces become the sign U+2581. Among all ways to cut the
result into pieces the one with the greatest sum of scores is taken; any character may also be
an unknown piece, which costs more than every other.

The image holds, each on a cache line: the sum that an unknown character costs (f64), the offsets of the pieces in their bytes (u32), their
scores (f32), the mapped characters in rising order (u32), the offsets of what replaces them
(u32), the replacements (u32), the hash table (pairs of u32: hash, piece + 1), the bytes.
"""
from std.memory import Pointer
from registers import Bytes, Floats, Ints, LINE, round_up

comptime Unsigned = Pointer[UInt32, MutUntrackedOrigin]
comptime Doubles = Pointer[Float64, MutUntrackedOrigin]

comptime META = UInt32(0x2581)
comptime BASIS = UInt64(1469598103934665603)
comptime PRIME = UInt64(1099511628211)
comptime WORST = Float64(-1e30)


@fieldwise_init
struct Pieces(TrivialRegisterPassable):
    """Addresses of a vocabulary's parts and their sizes; checked before it is made."""

    var image: Bytes
    var pieces: Int
    var mapped: Int
    var replacements: Int
    var slots: Int  # of the hash table, a power of two
    var bytes: Int
    var unknown: Int  # the id of the unknown piece
    var longest: Int  # characters of the longest piece

    @always_inline
    def unknown_score(self) -> Float64:
        return self.image.unsafe_bitcast[Float64]()[unsafe_offset=0]

    @always_inline
    def offsets(self) -> Unsigned:
        return self.image.unsafe_offset(LINE).unsafe_bitcast[UInt32]()

    @always_inline
    def scores(self) -> Floats:
        return self.image.unsafe_offset(
            LINE + round_up(4 * (self.pieces + 1), LINE)
        ).unsafe_bitcast[Float32]()

    @always_inline
    def characters(self) -> Unsigned:
        return (
            self.scores()
            .unsafe_bitcast[UInt8]()
            .unsafe_offset(round_up(4 * self.pieces, LINE))
            .unsafe_bitcast[UInt32]()
        )

    @always_inline
    def ends(self) -> Unsigned:
        return (
            self.characters()
            .unsafe_bitcast[UInt8]()
            .unsafe_offset(round_up(4 * self.mapped, LINE))
            .unsafe_bitcast[UInt32]()
        )

    @always_inline
    def instead(self) -> Unsigned:
        return (
            self.ends()
            .unsafe_bitcast[UInt8]()
            .unsafe_offset(round_up(4 * (self.mapped + 1), LINE))
            .unsafe_bitcast[UInt32]()
        )

    @always_inline
    def table(self) -> Unsigned:
        return (
            self.instead()
            .unsafe_bitcast[UInt8]()
            .unsafe_offset(round_up(4 * self.replacements, LINE))
            .unsafe_bitcast[UInt32]()
        )

    @always_inline
    def blob(self) -> Bytes:
        return self.table().unsafe_bitcast[UInt8]().unsafe_offset(round_up(8 * self.slots, LINE))

    def length(self) -> Int:
        """Length of the image."""
        return Int(self.blob()) - Int(self.image) + self.bytes

    def valid(self) -> Bool:
        """Whether every number in the image stays within it; asked once."""
        var offsets = self.offsets()
        var ends = self.ends()
        var table = self.table()
        for i in range(self.pieces):
            if offsets[unsafe_offset=i] > offsets[unsafe_offset=i + 1]:
                return False
        for i in range(self.mapped):
            if ends[unsafe_offset=i] > ends[unsafe_offset=i + 1]:
                return False
        var free = 0
        for i in range(self.slots):
            var entry = Int(table[unsafe_offset=2 * i + 1])
            if entry > self.pieces:
                return False
            free += Int(entry == 0)
        return (
            free > 0
            and Int(offsets[unsafe_offset=self.pieces]) <= self.bytes
            and Int(ends[unsafe_offset=self.mapped]) <= self.replacements
        )


@always_inline
def find(v: Pieces, text: Bytes, length: Int, hash: UInt64) -> Int:
    """The piece that these bytes are, or -1."""
    var table = v.table()
    var offsets = v.offsets()
    var short = (hash ^ (hash >> 32)).cast[DType.uint32]()
    var slot = Int(short) & (v.slots - 1)
    while True:
        var entry = Int(table[unsafe_offset=2 * slot + 1])
        if entry == 0:
            return -1
        if table[unsafe_offset=2 * slot] == short:
            var begin = Int(offsets[unsafe_offset=entry - 1])
            if Int(offsets[unsafe_offset=entry]) - begin == length:
                var same = True
                var blob = v.blob()
                for i in range(length):
                    if blob[unsafe_offset=begin + i] != text[unsafe_offset=i]:
                        same = False
                        break
                if same:
                    return entry - 1
        slot = (slot + 1) & (v.slots - 1)


@always_inline
def mapping(v: Pieces, character: UInt32) -> Int:
    """Where the character stands among those that are mapped, or -1."""
    var characters = v.characters()
    var low = 0
    var high = v.mapped
    while low < high:
        var middle = (low + high) // 2
        if characters[unsafe_offset=middle] < character:
            low = middle + 1
        else:
            high = middle
    if low < v.mapped and characters[unsafe_offset=low] == character:
        return low
    return -1


@always_inline
def put(out_text: Bytes, at: Int, c: UInt32) -> Int:
    """Append a character as UTF-8; returns the new end."""
    if c < 0x80:
        out_text[unsafe_offset=at] = c.cast[DType.uint8]()
        return at + 1
    if c < 0x800:
        out_text[unsafe_offset=at] = (c >> 6 | 0xC0).cast[DType.uint8]()
        out_text[unsafe_offset=at + 1] = (c & 63 | 0x80).cast[DType.uint8]()
        return at + 2
    if c < 0x10000:
        out_text[unsafe_offset=at] = (c >> 12 | 0xE0).cast[DType.uint8]()
        out_text[unsafe_offset=at + 1] = (c >> 6 & 63 | 0x80).cast[DType.uint8]()
        out_text[unsafe_offset=at + 2] = (c & 63 | 0x80).cast[DType.uint8]()
        return at + 3
    out_text[unsafe_offset=at] = (c >> 18 & 7 | 0xF0).cast[DType.uint8]()
    out_text[unsafe_offset=at + 1] = (c >> 12 & 63 | 0x80).cast[DType.uint8]()
    out_text[unsafe_offset=at + 2] = (c >> 6 & 63 | 0x80).cast[DType.uint8]()
    out_text[unsafe_offset=at + 3] = (c & 63 | 0x80).cast[DType.uint8]()
    return at + 4


@always_inline
def take(text: Bytes, at: Int, length: Int) -> SIMD[DType.uint32, 2]:
    """The character that begins here and how many bytes it has; a byte that begins none is
    itself one.
    """
    var c = text[unsafe_offset=at].cast[DType.uint32]()
    var left = length - at
    if c >= 0xC0 and c < 0xE0 and left >= 2:
        return SIMD[DType.uint32, 2](
            (c & 31) << 6 | text[unsafe_offset=at + 1].cast[DType.uint32]() & 63, 2
        )
    if c >= 0xE0 and c < 0xF0 and left >= 3:
        return SIMD[DType.uint32, 2](
            (c & 15) << 12
            | (text[unsafe_offset=at + 1].cast[DType.uint32]() & 63) << 6
            | text[unsafe_offset=at + 2].cast[DType.uint32]() & 63,
            3,
        )
    if c >= 0xF0 and c < 0xF8 and left >= 4:
        return SIMD[DType.uint32, 2](
            (c & 7) << 18
            | (text[unsafe_offset=at + 1].cast[DType.uint32]() & 63) << 12
            | (text[unsafe_offset=at + 2].cast[DType.uint32]() & 63) << 6
            | text[unsafe_offset=at + 3].cast[DType.uint32]() & 63,
            4,
        )
    return SIMD[DType.uint32, 2](c, 1)


def mapped_length(v: Pieces, text: Bytes, length: Int) -> Int:
    """How many characters the text has once they are mapped; at most that many remain."""
    var ends = v.ends()
    var count = 0
    var i = 0
    while i < length:
        var c = take(text, i, length)
        i += Int(c[1])
        var place = mapping(v, c[0])
        if place < 0:
            count += 1
        else:
            count += Int(ends[unsafe_offset=place + 1] - ends[unsafe_offset=place])
    return count


def scratch_bytes(characters: Int) -> Int:
    """Working memory of `cut`: bytes of the mapped text, where its characters begin, best
    sums, pieces, and where they begin.
    """
    var n = characters + 2
    return LINE + round_up(4 * n, 8) + round_up(4 * n, 8) + 8 * n + 8 * n


def cut(v: Pieces, text: Bytes, length: Int, scratch: Bytes, characters: Int, ids: Ints) -> Int:
    """Write the pieces' ids, at most one more than `characters`; returns how many."""
    var n_most = characters + 2
    var clean = Bytes(unsafe_from_address=round_up(Int(scratch), 8))
    var begins = clean.unsafe_offset(round_up(4 * n_most, 8)).unsafe_bitcast[UInt32]()
    var best = (
        begins.unsafe_bitcast[UInt8]()
        .unsafe_offset(round_up(4 * n_most, 8))
        .unsafe_bitcast[Float64]()
    )
    var back = best.unsafe_offset(n_most).unsafe_bitcast[Int32]()
    var ends = v.ends()
    var instead = v.instead()

    var n = 0
    var bytes = 0
    var previous = UInt32(0)
    var i = 0
    while i < length:
        var c = take(text, i, length)
        i += Int(c[1])
        var place = mapping(v, c[0])
        var from_ = 0
        var to = 1
        if place >= 0:
            from_ = Int(ends[unsafe_offset=place])
            to = Int(ends[unsafe_offset=place + 1])
        for z in range(from_, to):
            var one = c[0] if place < 0 else instead[unsafe_offset=z]
            if one == 0x20 and previous == 0x20:
                continue
            if n == 0 and one != 0x20:
                begins[unsafe_offset=0] = 0
                bytes = put(clean, 0, META)
                n = 1
            begins[unsafe_offset=n] = UInt32(bytes)
            bytes = put(clean, bytes, META if one == 0x20 else one)
            previous = one
            n += 1
    if n == 0:
        begins[unsafe_offset=0] = 0
        bytes = put(clean, 0, META)
        n = 1
    begins[unsafe_offset=n] = UInt32(bytes)

    var scores = v.scores()
    var lost = v.unknown_score()
    best[unsafe_offset=0] = 0
    for z in range(1, n + 1):
        best[unsafe_offset=z] = WORST
    for a in range(n):
        var so_far = best[unsafe_offset=a]
        var begin = Int(begins[unsafe_offset=a])
        var hash = BASIS
        var hashed = begin
        for e in range(a + 1, min(n, a + v.longest) + 1):
            var end = Int(begins[unsafe_offset=e])
            while hashed < end:
                hash = (hash ^ clean[unsafe_offset=hashed].cast[DType.uint64]()) * PRIME
                hashed += 1
            var piece = find(v, clean.unsafe_offset(begin), end - begin, hash)
            if piece >= 0 and piece != v.unknown:
                var sum = so_far + Float64(scores[unsafe_offset=piece])
                if sum > best[unsafe_offset=e]:
                    best[unsafe_offset=e] = sum
                    back[unsafe_offset=2 * e] = Int32(a)
                    back[unsafe_offset=2 * e + 1] = Int32(piece)
        if so_far + lost > best[unsafe_offset=a + 1]:
            best[unsafe_offset=a + 1] = so_far + lost
            back[unsafe_offset=2 * (a + 1)] = Int32(a)
            back[unsafe_offset=2 * (a + 1) + 1] = Int32(v.unknown)
    var count = 0
    var at = n
    while at > 0:
        count += 1
        at = Int(back[unsafe_offset=2 * at])
    at = n
    for z in range(count):
        ids[unsafe_offset=count - 1 - z] = back[unsafe_offset=2 * at + 1]
        at = Int(back[unsafe_offset=2 * at])
    return count
