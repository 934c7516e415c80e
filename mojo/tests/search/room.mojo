"""Memory and numbers for the tests of the kernels."""
from std.ffi import external_call
from lanes import Bytes, Doubles, Floats, Keys


def address(size: Int) -> Int:
    """Zeroed memory on a register's boundary. It is never given back: a test is short."""
    var rounded = (size + 127) // 64 * 64
    var at = external_call["aligned_alloc", Int](64, rounded)
    var bytes = Bytes(unsafe_from_address=at)
    for i in range(rounded):
        bytes[unsafe_offset=i] = 0
    return at


def floats(count: Int) -> Floats:
    """Room for float32 numbers."""
    return Floats(unsafe_from_address=address(count * 4))


def doubles(count: Int) -> Doubles:
    """Room for float64 numbers."""
    return Doubles(unsafe_from_address=address(count * 8))


def keys(count: Int) -> Keys:
    """Room for keys."""
    return Keys(unsafe_from_address=address(count * 8))


def bytes_of(count: Int) -> Bytes:
    """Room for bytes."""
    return Bytes(unsafe_from_address=address(count))


@fieldwise_init
struct Draw(Copyable):
    """A repeatable source of numbers (xorshift)."""

    var state: UInt64

    def next(mut self) -> UInt64:
        """Any 64 bits."""
        self.state ^= self.state << 13
        self.state ^= self.state >> 7
        self.state ^= self.state << 17
        return self.state

    def below(mut self, bound: Int) -> Int:
        """A number from 0 to bound - 1."""
        return Int(self.next() >> 33) % bound

    def number(mut self) -> Float32:
        """A number between -1 and 1."""
        return Float32(Int(self.next() >> 40)) / 8388608.0 - 1.0

    def fill(mut self, target: Floats, count: Int):
        """Put numbers between -1 and 1 there."""
        for i in range(count):
            target[unsafe_offset=i] = self.number()
