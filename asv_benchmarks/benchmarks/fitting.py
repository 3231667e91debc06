"""Whole training jobs: logistic regression, dense and sparse, by us and by others."""

from __future__ import annotations

import numpy as np

import fallline as fl

from .common import load

ROWS, FEATURES, BATCH, EPOCHS = 200_000, 100, 256, 4


def dense(dtype):
    """Return data of two classes."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, FEATURES)).astype(dtype)
    z = X @ rng.standard_normal(FEATURES)
    return X, (z + rng.logistic(size=ROWS) > 0).astype(dtype)


def model(alpha):
    """Return logistic regression."""
    return fl.LinearModel(fl.losses.BinaryCrossEntropy(), fl.L2(alpha))


class FullBatch:
    """L-BFGS on all data, to the loss that scikit-learn's default tolerance reaches."""

    params = (("fallline", "scikit-learn"), ("float64", "float32"))
    param_names = ("who", "dtype")
    rounds = 1
    repeat = (2, 7, 5.0)
    timeout = 300

    def setup(self, who, dtype):
        """Draw the data; find the loss to reach."""
        self.X, self.y = dense(dtype)
        linear = load("sklearn.linear_model")
        self.theirs = linear.LogisticRegression(C=1.0)
        found = self.theirs.fit(self.X, self.y)
        z = self.X @ found.coef_[0] + found.intercept_[0]
        value = np.mean(np.logaddexp(0, z) - self.y * z)
        self.loss = float(value + 0.5 / ROWS * found.coef_[0] @ found.coef_[0])

    def time_fit(self, who, dtype):
        """Fit once."""
        if who == "fallline":
            stop = fl.stop.Target(self.loss) | fl.stop.GradientNorm(0.0)
            found = fl.fit(model(1 / ROWS), (self.X, self.y), method="lbfgs", stop=stop)
            assert found.loss <= self.loss or found.status == 2
        else:
            self.theirs.fit(self.X, self.y)


class MiniBatches:
    """Four epochs of Adam, batch 256, after others that compile."""

    params = (("fallline", "torch fused", "optax scan"), ("float64", "float32"))
    param_names = ("who", "dtype")
    rounds = 1
    repeat = (2, 7, 5.0)
    timeout = 300

    def setup(self, who, dtype):
        """Draw the data and make what runs the epochs."""
        X, y = dense(dtype)
        make = {"fallline": self.ours, "torch fused": self.torch, "optax scan": self.optax}
        self.run = make[who](X, y, dtype)
        self.run()

    def ours(self, X, y, dtype):
        """Return a run of `fit`."""
        options = {"batch_size": BATCH, "epochs": EPOCHS, "rng": 0}
        return lambda: fl.fit(model(1 / ROWS), (X, y), method=fl.Adam(1e-3), **options)

    def torch(self, X, y, dtype):
        """Return the loop that one writes in torch."""
        torch = load("torch")
        X, y = torch.tensor(X), torch.tensor(y)
        w = torch.zeros(FEATURES, dtype=X.dtype, requires_grad=True)
        b = torch.zeros((), dtype=X.dtype, requires_grad=True)
        opt = torch.optim.Adam([w, b], lr=1e-3, fused=True)
        loss = torch.nn.functional.binary_cross_entropy_with_logits

        def epoch():
            order = torch.randperm(ROWS)
            for start in range(0, ROWS, BATCH):
                some = order[start : start + BATCH]
                opt.zero_grad()
                (loss(X[some] @ w + b, y[some]) + 0.5 / ROWS * w @ w).backward()
                opt.step()

        return lambda: [epoch() for _ in range(EPOCHS)]

    def optax(self, X, y, dtype):
        """Return epochs, each compiled as one loop; last rows that fill no batch are left out."""
        jax, optax = load("jax"), load("optax")
        jax.config.update("jax_enable_x64", dtype == "float64")
        X, y, opt = jax.numpy.asarray(X), jax.numpy.asarray(y), optax.adam(1e-3)

        def loss(params, x, t):
            z = x @ params["w"] + params["b"]
            value = jax.numpy.mean(optax.sigmoid_binary_cross_entropy(z, t))
            return value + 0.5 / ROWS * params["w"] @ params["w"]

        @jax.jit
        def scan(params, state, order, X, y):
            def step(carry, some):
                params, state = carry
                value, grads = jax.value_and_grad(loss)(params, X[some], y[some])
                updates, state = opt.update(grads, state, params)
                return (optax.apply_updates(params, updates), state), value

            return jax.lax.scan(step, (params, state), order)

        params = {"w": jax.numpy.zeros(FEATURES, X.dtype), "b": jax.numpy.zeros((), X.dtype)}
        state, rng = opt.init(params), np.random.default_rng(0)

        def epoch():
            order = rng.permutation(ROWS)[: ROWS // BATCH * BATCH].reshape(-1, BATCH)
            _, values = scan(params, state, jax.numpy.asarray(order), X, y)
            values.block_until_ready()

        return lambda: [epoch() for _ in range(EPOCHS)]

    def time_epochs(self, who, dtype):
        """Four epochs."""
        self.run()


class Sparse:
    """Four epochs over 100,000 rows of 50,000 features, 50 of them not zero; batch 512."""

    params = (("fallline", "scikit-learn"),)
    param_names = ("who",)
    rounds = 1
    repeat = (2, 7, 5.0)
    timeout = 300

    def setup(self, who):
        """Draw the data."""
        sparse, linear = load("scipy.sparse"), load("sklearn.linear_model")
        rng = np.random.default_rng(0)
        n, d, k = 100_000, 50_000, 50
        places = rng.integers(0, d, n * k, dtype=np.int32)  # as scikit-learn wants them
        ends = np.arange(0, n * k + 1, k, dtype=np.int32)
        self.X = sparse.csr_array((rng.random(n * k), places, ends), shape=(n, d))
        self.X.sum_duplicates()
        self.y = (rng.random(n) > 0.5).astype(float)
        self.theirs = linear.SGDClassifier(loss="log_loss", max_iter=EPOCHS, tol=None)
        self.time_epochs(who)

    def time_epochs(self, who):
        """Four epochs."""
        if who == "fallline":
            data = self.X, self.y
            fl.fit(model(1e-4), data, method=fl.SGD(0.1), batch_size=512, epochs=EPOCHS, rng=0)
        else:
            self.theirs.fit(self.X, self.y)


class Streaming:
    """Memory while `fit` goes through a memory map of 4 GB."""

    timeout = 600

    def setup(self):
        """Make the file, of zeros that the disk need not hold."""
        import tempfile

        self.file = tempfile.NamedTemporaryFile()  # noqa: SIM115
        self.X = np.memmap(self.file.name, np.float32, "w+", shape=(1_000_000, 1000))
        self.y = np.zeros(1_000_000, np.float32)

    def peakmem_fit(self):
        """One epoch over batches of 5,000 rows in their order."""
        stream = fl.Batches(self.X, self.y, batch_size=5000, shuffle=False)
        linear = fl.LinearModel(fl.losses.SquaredError())
        params = linear.initialize(self.X, self.y)
        fl.fit(linear, stream, params=params, method=fl.Adam(0.1), epochs=1)

    def teardown(self):
        """Remove the file."""
        self.file.close()
