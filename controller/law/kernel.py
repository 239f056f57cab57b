"""Compile the law with numba into one function of all its steps, cached under a hash of every law source.

The plain Python source is the law; the compiled code must give the same bits. Set ``numba.config.DISABLE_JIT``
(environment ``NUMBA_DISABLE_JIT=1``) to run the plain source.

A step names the arrays that it reads and writes as its parameters. To hand some 700 arrays from Python to 30 compiled
steps takes several times longer than the law itself at a hundred chargers. So the addresses of all arrays stand in one
table (`bind`); the compiled law takes that, and makes a step's arrays from it where it calls the step.
"""

import hashlib
import inspect
import platform
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import llvmlite
import numba
import numba.core.registry
import numba.np.arrayobj
import numba.np.numpy_support
import numpy as np
from numba.extending import intrinsic, typeof_impl

from controller.law import image

Array = np.ndarray[Any, Any]
CORE: Any = numba.core  # its inner parts are not typed
ARRAYS_OF: Any = numba.np.arrayobj

HERE = Path(__file__).parent


def law_hash() -> str:
    """Return 16 hex digits over all sources of the law and the versions of numpy, numba and llvmlite."""
    digest = hashlib.sha256()
    for source in sorted(HERE.glob("*.py")):
        digest.update(source.name.encode())
        digest.update(source.read_bytes())
    for version in (np.__version__, numba.__version__, llvmlite.__version__, platform.python_version()):
        digest.update(version.encode())
    return digest.hexdigest()[:16]


# numba's own cache does not notice a changed callee in another module
numba.config.CACHE_DIR = str(Path.home() / ".cache" / "voltbench" / f"law-{law_hash()}")  # type: ignore[attr-defined]

COMPILED = not numba.config.DISABLE_JIT  # type: ignore[attr-defined]
INDEX: Any = numba.types.uintp  # of a charger: without a test for an index from the end, loops can be vectorised
NUMBERS: dict[str, Any] = {"error_model": "numpy", "fastmath": False}  # float64 as numpy computes it, no reordering


def entry(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that Python calls: no Python objects, no GIL, kept in the cache."""
    return numba.njit(cache=True, nogil=True, **NUMBERS)(getattr(function, "function", function))


class Kernel:
    """Call a function that steps and other kernels share; the types of what it returns are its annotations.

    It is compiled as a part of whoever calls it. numba's own functions would be compiled once alone and once more in
    each caller, and in each caller's caller. From Python the plain source runs; `entry` of it is compiled.
    """

    __slots__ = ("_compiled", "function")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        returned = _returned(get_type_hints(function)["return"])

        def call(typingctx: Any, *given: Any) -> Any:
            sig = returned(*(_plain_type(kind) for kind in given))

            def generate(context: Any, builder: Any, outer: Any, args: Any) -> Any:
                return _call(context, builder, function, sig, args, noalias=False)

            return sig, generate

        given = inspect.signature(function).parameters.values()
        context = inspect.Parameter("typingctx", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        call.__signature__ = inspect.Signature([context, *given])  # type: ignore[attr-defined]
        self._compiled = intrinsic(call)

    def __call__(self, *args: Any) -> Any:
        """Run the plain source."""
        return self.function(*args)


def _returned(hint: Any) -> Any:
    """Return the compiled type of a return annotation."""
    if get_origin(hint) is tuple:
        several: Any = numba.types.Tuple
        return several([_returned(part) for part in get_args(hint)])
    return {type(None): numba.types.void, bool: numba.types.boolean, int: numba.types.intp, float: numba.types.float64}[
        hint
    ]


def _plain_type(kind: Any) -> Any:
    """Return an argument's type without its value; every integer is one of 64 bits."""
    kind = CORE.types.unliteral(kind)
    return numba.types.intp if isinstance(kind, numba.types.Integer) and kind != INDEX else kind


def _call(context: Any, builder: Any, function: Any, sig: Any, args: Any, noalias: bool) -> Any:
    """Compile a function as a part of the one that is being compiled, and call it there."""
    flags = CORE.compiler.Flags()
    flags.error_model = NUMBERS["error_model"]
    flags.noalias = noalias
    # the law makes no array, so none is counted: a count at every call would cost more than most calls do
    context = context.subtarget(enable_nrt=False)
    compiled = context.compile_subroutine(builder, function, sig, flags=flags)
    result = context.call_internal(builder, compiled.fndesc, sig, args)
    return context.get_dummy_value() if sig.return_type == numba.types.void else result


def kernel(function: Callable[..., Any]) -> Any:
    """Make a `Kernel` of a function, or leave it as it is where nothing is compiled."""
    return Kernel(function) if COMPILED else function


def _places() -> dict[str, tuple[int, str, image.Field]]:
    """Return each array's place in (*input, *plan, *state, *output), its table and field; INPUT wins shared names."""
    places: dict[str, tuple[int, str, image.Field]] = {}
    fields = [(table, field) for table, fields in image.TABLES.items() for field in fields]
    for place, (table, field) in enumerate(fields):
        places.setdefault(field.name, (place, table, field))
    return places


PLACES = _places()
ARRAYS = sum(len(fields) for fields in image.TABLES.values())
SIZES = "NMWK"  # of `image.Dims`, behind the addresses in the table
COLUMN = ARRAYS + len(SIZES)  # behind them for each array how far its columns are apart, where it is laid out by column


class Stage:
    """Call a step with the arrays that its parameters name, from the plain source or from a compiled function.

    A step that works on each charger alone has the parameters `first` and `end` in front: the range of chargers.
    """

    __slots__ = ("_compiled", "_pick", "function", "names", "span")

    def __init__(self, function: Callable[..., None]) -> None:
        given = tuple(inspect.signature(function).parameters)
        self.span = 2 if given[:2] == ("first", "end") else 0
        self.function = function
        self.names = given[self.span :]
        places = [PLACES[name][0] for name in self.names]
        self._pick = itemgetter(*places) if len(places) > 1 else lambda images: (images[places[0]],)
        self._compiled = _compiled_call(self)

    def __call__(self, images: tuple[Array, ...], *span: int) -> None:
        """Run the step's plain source on (*input, *plan, *state, *output), in place."""
        self.function(*span, *self._pick(images))


def _array_type(table: str, field: image.Field) -> Any:
    """Return the compiled type of an array; one that the law only reads cannot be written by compiled code."""
    layout = "F" if field.name in image.BY_COLUMN else "C"
    dtype = numba.np.numpy_support.from_dtype(np.dtype(field.dtype))
    array: Any = numba.types.Array
    return array(dtype, len(field.shape), layout, readonly=table in ("input", "plan"))


def _compiled_call(step: Stage) -> Any:
    """Return what `step(images, *span)` becomes in compiled code: make its arrays from the table, call it."""
    fields = [PLACES[name] for name in step.names]
    arrays = [_array_type(table, field) for _, table, field in fields]
    sig = numba.types.void(*(INDEX,) * step.span, *arrays)

    def generate(context: Any, builder: Any, outer: Any, args: Any) -> Any:
        table = ARRAYS_OF.make_array(outer.args[0])(context, builder, args[0]).data
        made = [
            _make_array(context, builder, kind, field, table, place)
            for kind, (place, _, field) in zip(arrays, fields, strict=True)
        ]
        # no two arrays of the images overlap
        return _call(context, builder, step.function, sig, [*args[1:], *made], noalias=True)

    def whole(typingctx: Any, table: Any) -> Any:
        return numba.types.void(table), generate

    def part(typingctx: Any, table: Any, first: Any, end: Any) -> Any:
        return numba.types.void(table, INDEX, INDEX), generate

    return intrinsic(part if step.span else whole)


def _make_array(context: Any, builder: Any, kind: Any, field: image.Field, table: Any, place: int) -> Any:
    """Return a compiled array over the address that stands at a place of the table."""

    def word(k: int) -> Any:
        return builder.load(CORE.cgutils.gep(builder, table, k))

    itemsize = context.get_constant(numba.types.intp, np.dtype(field.dtype).itemsize)
    fixed = image.shape_of(field, image.Dims(0, 0, 0, 0))
    shape = [
        word(ARRAYS + SIZES.index(letter)) if letter in SIZES else context.get_constant(numba.types.intp, size)
        for letter, size in zip(field.shape, fixed, strict=True)
    ]
    if kind.layout == "F":
        shape[0] = word(COLUMN + place)
    strides, stride = [itemsize] * len(shape), itemsize
    for axis in range(len(shape)) if kind.layout == "F" else reversed(range(len(shape))):
        strides[axis] = stride
        stride = builder.mul(stride, shape[axis])
    array = ARRAYS_OF.make_array(kind)(context, builder)
    data = builder.inttoptr(word(place), context.get_data_type(kind.dtype).as_pointer())
    ARRAYS_OF.populate_array(array, data=data, shape=shape, strides=strides, itemsize=itemsize, meminfo=None)
    return array._getvalue()


@typeof_impl.register(Stage)
@typeof_impl.register(Kernel)
def _type_of(part: Any, context: Any) -> Any:
    """Let compiled code call a step or kernel by its name, as the plain source does."""
    return CORE.registry.cpu_target.typing_context.resolve_value_type(part._compiled)


def bind(images: tuple[Any, ...]) -> Array:
    """Return the table of addresses and sizes that the compiled law takes for (input, plan, state, output).

    It holds while these four named tuples live. Raises ValueError where an array is not laid out as the tables say.
    """
    plan = images[1]
    dims = image.Dims(plan.charger_node.size, plan.parent.size, plan.window_node.size, plan.droop_pu.shape[-1])
    table = np.zeros(COLUMN + ARRAYS, dtype=np.int64)
    place = 0
    for name, arrays in zip(image.TABLES, images, strict=True):
        for field, array in zip(image.TABLES[name], arrays, strict=True):
            flags, shape = array.flags, image.shape_of(field, dims)
            laid = flags.f_contiguous if field.name in image.BY_COLUMN else flags.c_contiguous
            if not laid or not flags.aligned or array.dtype != field.dtype or array.shape != shape:
                raise ValueError(
                    f"{name}.{field.name}: {array.dtype} {array.shape}, strides {array.strides}; needed is"
                    f" {field.dtype} {shape} without gaps, as `image.allocate` makes it"
                )
            table[place] = array.__array_interface__["data"][0]
            place += 1
    table[ARRAYS:COLUMN] = dims
    table[COLUMN:] = dims.n
    return table
