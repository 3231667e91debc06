"""Trees of arrays: flattening, names of leaves, prefixes. The only importer of optree.

A tree is a leaf or any nesting of dicts, lists, tuples and named tuples (and what else is
registered with optree). ``None`` is a leaf: it stands for "nothing here".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import optree

from . import _checks

Path = tuple[Any, ...]


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

    def __init__(self, tree: Any) -> None:
        self.paths: list[Path]
        self.paths, leaves, self._spec = optree.tree_flatten_with_path(tree, none_is_leaf=True)
        self.is_leaf = len(leaves) == 1 and self.paths[0] == ()

    def flatten(self, tree: Any, argument: str) -> list[Any]:
        """Return the leaves of `tree`, which must have this structure."""
        try:
            return self._spec.flatten_up_to(tree)
        except (ValueError, TypeError) as error:
            raise ValueError(self._difference(tree, argument)) from error

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        """Return a tree of this structure with other leaves."""
        return optree.tree_unflatten(self._spec, leaves)

    def broadcast(self, prefix: Any, argument: str) -> list[Any]:
        """Return one entry of `prefix` for each leaf; `prefix` may stop above the leaves."""
        whole = self.unflatten(range(len(self.paths)))
        try:
            return optree.tree_leaves(
                optree.tree_broadcast_prefix(prefix, whole, none_is_leaf=True), none_is_leaf=True
            )
        except ValueError as error:
            msg = f"{argument}: is not a prefix of the structure of params: {error}"
            raise ValueError(msg) from error

    def own_order(self, tree: Any) -> list[int]:
        """Return the numbers of the leaves in the order of the containers: dicts by insertion."""
        index = {path: i for i, path in enumerate(self.paths)}
        found: list[int] = []

        def visit(path: Path, below: Any) -> None:
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

    def assign(self, tree: Any, new: Mapping[int, Any]) -> Any:
        """Put other leaves into `tree`: in place in dicts and lists, tuples are rebuilt.

        Returns `tree` itself, if it could stay.
        """
        return _put(tree, {self.paths[index]: leaf for index, leaf in new.items()})

    def select(self, where: Any, argument: str) -> list[int]:
        """Return the leaves below a key, a path (tuple) or any of a list of these."""
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

    def _difference(self, tree: Any, argument: str) -> str:
        theirs = set(optree.tree_paths(tree, none_is_leaf=True))
        ours = set(self.paths)
        parts = []
        for word, paths in (("missing", ours - theirs), ("unexpected", theirs - ours)):
            if paths:
                names = sorted(_checks.where(argument, path) for path in paths)
                parts.append(f"{word} {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}")
        return f"{argument}: its structure differs from that of params: " + (
            "; ".join(parts) or f"got {optree.tree_structure(tree, none_is_leaf=True)}"
        )


def _put(tree: Any, new: Mapping[Path, Any]) -> Any:
    if () in new:
        return new[()]
    below: dict[Any, dict[Path, Any]] = {}
    for path, leaf in new.items():
        below.setdefault(path[0], {})[path[1:]] = leaf
    if isinstance(tree, dict | list):
        for key, leaves in below.items():
            tree[key] = _put(tree[key], leaves)
        return tree
    children, metadata, entries, rebuild = optree.tree_flatten_one_level(tree, none_is_leaf=True)
    pairs = zip(entries, children, strict=True)
    return rebuild(
        metadata, [_put(child, below[key]) if key in below else child for key, child in pairs]
    )


class FrozenList(tuple[Any, ...]):
    """The read-only stand-in for a list, and known from a tuple."""

    __slots__ = ()


def frozen(tree: Any) -> Any:
    """Return `tree` with read-only stand-ins for its dicts and lists."""
    if isinstance(tree, dict):
        return MappingProxyType({key: frozen(value) for key, value in tree.items()})
    if isinstance(tree, list):
        return FrozenList(frozen(value) for value in tree)
    return tree


def thawed(tree: Any) -> Any:
    """Return `tree` with plain dicts and lists for those that `frozen` made."""
    if isinstance(tree, Mapping) and not isinstance(tree, dict):
        tree = dict(tree)
    if type(tree) is dict:
        return {key: thawed(value) for key, value in tree.items()}
    if isinstance(tree, FrozenList):
        return [thawed(value) for value in tree]
    if type(tree) in (list, tuple):
        return type(tree)(thawed(value) for value in tree)
    return tree
