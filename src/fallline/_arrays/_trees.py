"""Trees of arrays: flattening, names of leaves, prefixes. The only importer of optree.

A tree is a leaf or any nesting of dicts, lists, tuples, named tuples and other classes that are
registered with optree. ``None`` is a leaf that stands for "nothing here".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, ValuesView
from types import MappingProxyType

import optree

from . import _checks
from ._types import Array, Key, KeyPath, Tree


class Structure:
    """The shape of a tree: how to take one apart, name its leaves and build another.

    Parameters
    ----------
    tree : tree
        The tree to describe.

    Attributes
    ----------
    paths : list of tuple
        Keys that lead to each leaf, in flattening order.
    """

    def __init__(self, tree: Tree) -> None:
        self.paths: list[KeyPath]
        self.paths, leaves, self._spec = optree.tree_flatten_with_path(tree, none_is_leaf=True)
        self.is_leaf = len(leaves) == 1 and self.paths[0] == ()

    def flatten(self, tree: Tree, argument: str) -> list[Array]:
        """Return the leaves of `tree`, which must have this structure."""
        try:
            return self._spec.flatten_up_to(tree)
        except (ValueError, TypeError):
            pass
        try:
            return self._spec.flatten_up_to(thawed(tree))  # the trees of an Optimizer are read-only
        except (ValueError, TypeError) as error:
            raise ValueError(self._difference(tree, argument, whole=True)) from error

    def unflatten(self, leaves: Sequence[object]) -> Tree:
        """Return a tree of this structure with other leaves."""
        return optree.tree_unflatten(self._spec, leaves)

    def broadcast(self, prefix: Tree, argument: str) -> list[Tree]:
        """Return one entry of `prefix` for each leaf; `prefix` may stop above the leaves."""
        whole, prefix = self._numbered(), thawed(prefix)
        try:
            return optree.tree_leaves(
                optree.tree_broadcast_prefix(prefix, whole, none_is_leaf=True), none_is_leaf=True
            )
        except ValueError as error:
            raise ValueError(self._difference(prefix, argument, whole=False)) from error

    def own_order(self, tree: Tree) -> list[int]:
        """Return the indices of the leaves in the order of their containers: dicts by insertion."""
        index = {path: i for i, path in enumerate(self.paths)}
        found: list[int] = []

        def visit(path: KeyPath, below: Tree) -> None:
            if path in index:
                found.append(index[path])
                return
            if isinstance(below, Mapping):
                pairs = list(below.items())
            else:
                children, _, entries, _ = optree.tree_flatten_one_level(below, none_is_leaf=True)
                pairs = list(zip(entries, children, strict=True))
            for key, child in pairs:
                visit((*path, key), child)

        visit((), tree)
        return found

    def assign(self, tree: Tree, new: Mapping[int, Array]) -> Tree:
        """Replace leaves of `tree`: in place in dicts and lists, while tuples are rebuilt.

        Returns `tree` itself, unless it had to be rebuilt.
        """
        return _put(tree, {self.paths[index]: leaf for index, leaf in new.items()})

    def fixed(self, tree: Tree) -> set[int]:
        """Return the indices of leaves that `assign` cannot replace in place."""
        return {i for i, path in enumerate(self.paths) if not _replaceable(tree, path)}

    def select(self, where: object, argument: str) -> list[int]:
        """Return the indices of the leaves below a key, a path (tuple), or a list of these."""
        if where is None:
            return list(range(len(self.paths)))
        found: list[int] = []
        for item in where if isinstance(where, list) else [where]:
            path = item if isinstance(item, tuple) else (item,)
            below = [i for i, leaf in enumerate(self.paths) if leaf[: len(path)] == path]
            if not below:
                msg = f"{argument}: params has no leaf {_checks.where('params', path)}"
                raise ValueError(msg)
            found += [i for i in below if i not in found]
        return found

    def _numbered(self) -> Tree:
        return self.unflatten(range(len(self.paths)))

    def _difference(self, tree: Tree, argument: str, *, whole: bool) -> str:
        # In words: entries that are missing or unexpected, or else the first node of a wrong kind.
        found: dict[str, list[str]] = {"missing": [], "unexpected": [], "wrong": []}
        _compare(self._numbered(), thawed(tree), (), argument, found, whole=whole)
        wrong, parts = found.pop("wrong"), []
        for word, names in found.items():
            some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            parts += [f"{word} {some}"] if names else []
        if wrong and not parts:
            return wrong[0]
        return f"{argument}: {'; '.join(parts) or 'its structure differs from that of params'}"


def _compare(
    ours: Tree,
    theirs: Tree,
    path: KeyPath,
    argument: str,
    found: dict[str, list[str]],
    *,
    whole: bool,
) -> None:
    # Collect where a tree differs from ours. What stands in the place of a leaf is not inspected;
    # unless the whole tree is required, theirs may end earlier.
    below, other = _entries(ours), _entries(theirs)
    place = f"{_checks.where(argument, path)}: is {_checks.described(theirs)}, expected"
    if below is None:
        if other is not None and not whole:
            found["wrong"].append(f"{place} one entry for {_checks.where('params', path)}")
        return
    if other is None and not whole:
        return
    if other is None or _kind(ours) is not _kind(theirs):
        hint = "; make a list of it" if isinstance(ours, list) and _is_ordered(theirs) else ""
        found["wrong"].append(f"{place} {_checks.described(ours)}{hint}")
        return
    for word, one, two in (("missing", below, other), ("unexpected", other, below)):
        found[word] += [_checks.where(argument, (*path, key)) for key in one if key not in two]
    for key in below:
        if key in other:
            _compare(below[key], other[key], (*path, key), argument, found, whole=whole)


def _entries(tree: Tree) -> dict[Key, Tree] | None:
    # The children of a node by their keys; None for a leaf.
    if tree is None or optree.tree_is_leaf(tree, none_is_leaf=True):
        return None
    children, _, entries, _ = optree.tree_flatten_one_level(tree, none_is_leaf=True)
    return dict(zip(entries, children, strict=True))


def _is_ordered(tree: Tree) -> bool:
    return isinstance(tree, tuple | Iterator | ValuesView)


def _kind(tree: Tree) -> type:
    # Dicts of every kind are interchangeable.
    return dict if isinstance(tree, dict) else type(tree)


def _put(tree: Tree, new: Mapping[KeyPath, Tree]) -> Tree:
    if () in new:
        return new[()]
    below: dict[Key, dict[KeyPath, Tree]] = {}
    for path, leaf in new.items():
        below.setdefault(path[0], {})[path[1:]] = leaf
    if isinstance(tree, dict | list):
        for key, leaves in below.items():
            tree[key] = leaves[()] if () in leaves else _put(tree[key], leaves)
        return tree
    children, metadata, entries, rebuild = optree.tree_flatten_one_level(tree, none_is_leaf=True)
    pairs = zip(entries, children, strict=True)
    return rebuild(
        metadata, [_put(child, below[key]) if key in below else child for key, child in pairs]
    )


def _replaceable(tree: Tree, path: KeyPath) -> bool:
    if not path or isinstance(tree, dict | list):
        return bool(path)
    children = _entries(tree) or {}
    return _replaceable(children[path[0]], path[1:])


class FrozenList(tuple[Tree, ...]):
    """A read-only list, which can be told from a tuple."""

    __slots__ = ()


def frozen(tree: Tree) -> Tree:
    """Return `tree` with read-only dicts and lists."""
    if isinstance(tree, dict):
        return MappingProxyType({key: frozen(value) for key, value in tree.items()})
    if isinstance(tree, list):
        return FrozenList(frozen(value) for value in tree)
    return tree


def thawed(tree: Tree) -> Tree:
    """Return `tree` with plain dicts and lists in the place of those that `frozen` made."""
    if isinstance(tree, Mapping) and not isinstance(tree, dict):
        tree = dict(tree)
    if type(tree) is dict:
        return {key: thawed(value) for key, value in tree.items()}
    if isinstance(tree, FrozenList):
        return [thawed(value) for value in tree]
    if type(tree) in (list, tuple):
        return type(tree)(thawed(value) for value in tree)
    return tree
