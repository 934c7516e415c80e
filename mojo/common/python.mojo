"""CPython's C API as the extension modules use it: errors, numbers, buffers, capsules, modules.

The layout of Py_buffer (ten words: buf, obj, len, itemsize, ...), PyMethodDef and PyModuleDef is that
of CPython 3.11 and later on 64-bit machines.
"""
from std.ffi import external_call
from std.memory import Pointer
from machine import HAS_VBMI, HAS_VNNI, Words

comptime Function = def(Int, Words, Int) thin abi("C") -> Int
comptime Destructor = def(Int) thin abi("C") -> None
comptime VIEW = 10  # words of a Py_buffer


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


@always_inline
def numbers(o: Int, count: Int) -> Words:
    """The words of a bytes object that holds `count` of them; the null pointer's neighbour 8 and
    an exception set when it is none.
    """
    var at = external_call["PyBytes_AsString", Int](o)
    if at == 0:
        return Words(unsafe_from_address=8)
    if external_call["PyBytes_Size", Int](o) != count * 8:
        _ = refuse("ValueError", "settings of the wrong length")
        return Words(unsafe_from_address=8)
    return Words(unsafe_from_address=at)


@always_inline
def held_at(capsule: Int, name: StaticString) -> Int:
    """The address inside a capsule of this name; 0 and an exception set when it is none."""
    return external_call["PyCapsule_GetPointer", Int](capsule, text(name))


def in_capsule(at: Int, name: StaticString, destructor: Destructor) -> Int:
    """A new capsule around an address."""
    var f = destructor
    return external_call["PyCapsule_New", Int](
        at, text(name), Pointer(to=f).unsafe_bitcast[Int]()[]
    )


@always_inline
def method(table: Words, i: Int, name: StaticString, function: Function):
    """Fill a PyMethodDef: name, function, METH_FASTCALL, no docstring."""
    var f = function
    table[unsafe_offset=4 * i] = text(name)
    table[unsafe_offset=4 * i + 1] = Pointer(to=f).unsafe_bitcast[Int]()[]
    table[unsafe_offset=4 * i + 2] = 0x80
    table[unsafe_offset=4 * i + 3] = 0


def variant(module: Int, args: Words, count: Int) abi("C") -> Int:
    """Which variant this is: 2 VBMI, 1 VNNI, 0 AVX2."""
    comptime if HAS_VBMI:
        return new_number(2)
    elif HAS_VNNI:
        return new_number(1)
    else:
        return new_number(0)


def new_table(functions: Int) -> Words:
    """Room for so many PyMethodDef and the empty one that ends them."""
    return Words(unsafe_from_address=external_call["PyMem_RawCalloc", Int]((functions + 1) * 4, 8))


def new_module(name: StaticString, methods: Words) -> Int:
    """A module without state; its definition and its table live as long as the process."""
    var definition = Words(unsafe_from_address=external_call["PyMem_RawCalloc", Int](13, 8))
    definition[unsafe_offset=0] = 1  # reference count of the definition
    definition[unsafe_offset=5] = text(name)
    definition[unsafe_offset=7] = -1
    definition[unsafe_offset=8] = Int(methods)
    return external_call["PyModule_Create2", Int](Int(definition), Int32(1013))
