"""One search a process, as the project's seeds did it with `mojo run`: only for the benchmark.

Arguments: a file of raw float32 rows, a file with one query, how many rows, their dimension,
and k. Prints the row numbers, best first.
"""
from std.ffi import external_call
from std.memory import Pointer
from std.sys import argv
from best import row_of, sort_best_first
from dot import scan_exact
from lanes import Bytes, Floats, Keys


def mapped(path: String, size: Int) raises -> Int:
    """The address of a file's bytes."""
    var name = path
    var fd = external_call["open", Int32](Int(name.as_c_string_span().ptr()), Int32(0))
    var at = external_call["mmap", Int](0, size, Int32(1), Int32(1), fd, 0)
    if fd < 0 or at == -1:
        raise Error("cannot read ", path)
    return at


def main() raises:
    var words = argv()
    var n = Int(words[3])
    var dim = Int(words[4])
    var k = Int(words[5])
    var rows = Floats(unsafe_from_address=mapped(String(words[1]), n * dim * 4))
    var query = Floats(unsafe_from_address=mapped(String(words[2]), dim * 4))
    var best = Keys(unsafe_from_address=external_call["aligned_alloc", Int](64, 8192))
    scan_exact(rows, query, n, dim, Bytes(unsafe_from_address=8), False, best, k)
    sort_best_first(best, k)
    for i in range(k):
        print(row_of(best[unsafe_offset=i]))
