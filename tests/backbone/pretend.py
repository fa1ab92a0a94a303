"""A device that is none: tensors that say they lie elsewhere, hold their numbers here, and refuse to meet the CPU's.

As on CUDA, a tensor of the CPU may stand beside one of the device only without dimensions or as an index into it; and
what CUDA refuses where every run must give the same bits is refused. Speed, memory and CUDA's own rounding are not
tested.
"""

import contextlib

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

NAME = "meta"  # the one type that torch lets tensors claim without its hardware
_INDEXING = {"aten::index", "aten::index_put", "aten::index_put_"}
_MOVES = {"aten::to", "aten::_to_copy", "aten::copy_"}
_NO_FIXED_BITS = {"aten::cumsum"}  # of floats


class MixedDevicesError(RuntimeError):
    """Tensors of two devices met."""


class There(torch.Tensor):
    """A tensor of the pretended device; its numbers are in `held`."""

    @staticmethod
    def __new__(cls, held):
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=NAME
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


class _Factories(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


@contextlib.contextmanager
def device():
    """Let tensors be made on and moved to the pretended device, NAME."""
    with _Factories():
        yield NAME


def compute(func, args, kwargs):
    """Run an operator on the numbers held, and say that its results lie where its arguments do, or where it asks."""
    name, names = func._schema.name, [one.name for one in func._schema.arguments]
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    tensors = [one for one in tree_flatten(given)[0] if isinstance(one, torch.Tensor)]
    _refuse(name, given, tensors)
    asked = given.get("device")
    goes = any(isinstance(one, There) for one in tensors) if asked is None else torch.device(asked).type == NAME
    if name == "aten::copy_" or (name == "aten::to" and "other" in given):
        goes = isinstance(given["self" if name == "aten::copy_" else "other"], There)
    if asked is not None:
        given["device"] = torch.device("cpu")
    result = func(*(_held(given[one]) for one in names[: len(args)]), **{one: _held(given[one]) for one in kwargs})
    first = func._schema.arguments[0].alias_info
    if first is not None and first.is_write:
        return args[0]
    return tree_map(lambda one: There(one) if goes and isinstance(one, torch.Tensor) else one, result)


def _refuse(name, given, tensors):
    if name in _NO_FIXED_BITS and isinstance(tensors[0], There) and tensors[0].is_floating_point():
        raise RuntimeError(f"{name} of floats has no algorithm on CUDA that always gives the same bits")
    if name in _MOVES:
        return
    indices = [one for one in tree_flatten(given.get("indices"))[0] if one is not None] if name in _INDEXING else []
    if indices and not isinstance(given["self"], There) and any(isinstance(one, There) for one in indices):
        raise MixedDevicesError(f"{name}: indices on the device into a tensor on the CPU")
    met = [one for one in tensors if one.dim() and not any(one is index for index in indices)]
    if len({isinstance(one, There) for one in met}) > 1:
        raise MixedDevicesError(f"{name}: {[(type(one).__name__, tuple(one.shape)) for one in met]}")


def _held(one):
    return tree_map(lambda leaf: leaf.held if isinstance(leaf, There) else leaf, one)
