"""Mini-batches."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import fallline as fl


def test_order_is_the_same_on_every_backend(backend):
    x, y = np.arange(22.0).reshape(11, 2), np.arange(11)
    generator = np.random.default_rng(5)
    batches = fl.Batches(backend.array(x), backend.array(y), batch_size=4, rng=5)
    assert len(batches) == 3
    for _ in range(3):
        order = generator.permutation(11)
        found = list(batches)
        assert [len(backend.numpy(b)) for _, b in found] == [4, 4, 3]
        np.testing.assert_array_equal(np.concatenate([backend.numpy(b) for _, b in found]), order)
        np.testing.assert_array_equal(
            np.concatenate([backend.numpy(a) for a, _ in found]), x[order]
        )


def test_without_shuffling_rows_come_in_order(backend):
    x = np.arange(7.0)
    batches = fl.Batches(backend.array(x), batch_size=3, shuffle=False, drop_last=True)
    found = [backend.numpy(a) for (a,) in batches]
    assert len(batches) == 2
    np.testing.assert_array_equal(found, [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(("n", "size", "full"), [(6, 3, 2), (7, 3, 2), (2, 3, 0), (0, 3, 0)])
def test_the_length_is_the_number_of_batches(n, size, full):
    x = np.arange(n)
    assert len(fl.Batches(x, batch_size=size, drop_last=True)) == full
    batches = fl.Batches(x, batch_size=size)
    assert len(batches) == len(list(batches)) == -(-n // size)


def test_epochs_draw_once_each_even_if_left_early():
    x = np.arange(10)
    one, two = fl.Batches(x, batch_size=3, rng=1), fl.Batches(x, batch_size=3, rng=1)
    list(one)
    next(iter(two))
    np.testing.assert_array_equal(next(iter(one))[0], next(iter(two))[0])


def test_a_memory_map_is_read_batch_by_batch(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.arange(40.0).reshape(20, 2))
    x = np.load(path, mmap_mode="r")
    for (batch,) in fl.Batches(x, batch_size=6, rng=0):
        assert not isinstance(batch, np.memmap)
        assert not np.shares_memory(batch, x)
        assert batch.shape[0] <= 6
    ((first,), *_) = fl.Batches(x, batch_size=6, shuffle=False)
    assert isinstance(first, np.memmap)
    assert np.shares_memory(first, x)


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_first_batch_takes_no_memory_for_those_after_it(shuffle):
    x = np.arange(200_000)
    batches = fl.Batches(x, batch_size=1, shuffle=shuffle, rng=0)
    tracemalloc.start()
    try:
        first = next(iter(batches))[0]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000 + shuffle * 2 * x.nbytes
    expected = np.random.default_rng(0).permutation(x.size) if shuffle else x
    np.testing.assert_array_equal(first, expected[:1])


def test_an_epoch_is_as_long_as_when_it_began():
    batches = fl.Batches(np.arange(7), batch_size=2, shuffle=False)
    epoch = batches.epoch(1)
    batches.batch_size, batches.drop_last = 3, True
    assert [len(x) for (x,) in epoch] == [2, 2, 1]
    assert [len(x) for (x,) in batches.epoch(1)] == [3]
    assert list(batches.epoch(5)) == []


SPARSE = ("csr", "csc", "lil", "dok", "coo", "bsr", "dia")


@pytest.mark.parametrize("kind", ["matrix", "array"])
@pytest.mark.parametrize("form", SPARSE)
def test_sparse_formats_give_rows_or_are_refused_by_name(form, kind):
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    dense = np.arange(12.0).reshape(6, 2)
    x = getattr(sparse, f"{form}_{kind}")(dense)
    try:
        batches = fl.Batches(np.arange(6), x, batch_size=4, rng=0)
    except TypeError as error:
        words = str(error)
        assert form in ("coo", "bsr", "dia")
        assert f"arrays[1]: is a {form}_{kind}, expected a sparse matrix with rows" in words
        assert "tocsr()" in words
        batches = fl.Batches(np.arange(6), x.tocsr(), batch_size=4, rng=0)
    for rows, found in batches:
        np.testing.assert_array_equal(found.toarray(), dense[rows])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: fl.Batches(batch_size=2), TypeError, "at least one array"),
        (lambda: fl.Batches(np.ones(3), np.ones(4), batch_size=2), ValueError, r"arrays\[1\]: len"),
        (lambda: fl.Batches(np.ones(()), batch_size=2), ValueError, r"arrays\[0\]: is 0-d"),
        (lambda: fl.Batches([1, 2], batch_size=2), TypeError, r"arrays\[0\]: is a list"),
        (lambda: fl.Batches(np.ones(3), batch_size=0), ValueError, "batch_size: is 0"),
        (lambda: fl.Batches(np.ones(3), batch_size=1.5), TypeError, "batch_size: is 1.5"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_arrays_of_two_libraries_are_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"arrays\[1\]: array library"):
        fl.Batches(np.ones(3), torch.ones(3), batch_size=1)
