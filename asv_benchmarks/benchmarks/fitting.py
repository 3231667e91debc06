"""Whole training jobs: logistic regression, dense and sparse, by us and by others."""

from __future__ import annotations

import numpy as np

import fallline as fl

from .common import Timed, few, load, rows

BATCH, EPOCHS = 256, 4
# Rows, all of which fill batches, and features by the number of outputs.
SHAPES = {1: (781 * BATCH, 100), 5: (390 * BATCH, 50)}
DTYPES = ("float64", "float32")


def data(outputs, dtype):
    """Return rows and their classes: 0 and 1 for one output, else one for each."""
    n, features = SHAPES[outputs]
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows(n), features)).astype(dtype)
    z = X @ rng.standard_normal((features, outputs))
    z += rng.gumbel(size=z.shape)
    return X, (z[:, 0] > 0).astype(dtype) if outputs == 1 else np.argmax(z, axis=1)


def model(outputs=1, alpha=None):
    """Return logistic regression."""
    loss = fl.losses.BinaryCrossEntropy() if outputs == 1 else fl.losses.SoftmaxCrossEntropy()
    return fl.LinearModel(loss, None if alpha is None else fl.L2(alpha))


def value(outputs, w, b, X, y, alpha=None):
    """Return the objective in double precision, of whoever found the parameters."""
    w, b = np.asarray(w, float), np.asarray(b, float)
    params = {"weights": w.reshape(X.shape[1], -1), "intercept": b.reshape(-1)}
    if outputs == 1:
        params = {"weights": w.reshape(-1), "intercept": b.reshape(())}
    X, y = X.astype(float), y.astype(float) if outputs == 1 else y
    return float(model(outputs, alpha).value_and_gradient(params, X, y)[0])


class Job:
    """Epochs of Adam in mini-batches; `found` are the last weights and intercepts.

    There is no penalty: ours would act by proximal steps, and the steps would differ.
    """

    epochs = EPOCHS

    def __init__(self, outputs, dtype):
        self.outputs, self.dtype = outputs, dtype
        self.X, self.y = data(outputs, dtype)
        self.found = None

    def __call__(self):
        """Make the epochs, and return their number."""
        self.train(self.epochs)
        return self.epochs

    def orders(self, epochs):
        """Return the rows of each batch for each epoch: the same for all."""
        rng = np.random.default_rng(0)
        return [rng.permutation(len(self.X)).reshape(-1, BATCH) for _ in range(epochs)]

    def value(self):
        """Return the objective at the end."""
        return value(self.outputs, *self.found, self.X, self.y)

    def starts(self):
        """Return zeros for weights and intercepts."""
        shape = () if self.outputs == 1 else (self.outputs,)
        return np.zeros((self.X.shape[1], *shape), self.dtype), np.zeros(shape, self.dtype)


class Ours(Job):
    """`fit`."""

    def train(self, epochs):
        """Fit once."""
        result = fl.fit(
            model(self.outputs), (self.X, self.y), method=fl.Adam(1e-3),
            batch_size=BATCH, epochs=epochs, rng=0,
        )  # fmt: skip
        self.found = result.params["weights"], result.params["intercept"]


class Torch(Job):
    """The loop that one writes in torch; one epoch takes long enough."""

    epochs = 1

    def __init__(self, *problem):
        super().__init__(*problem)
        self.torch = load("torch")
        self.X_, self.y_ = self.torch.tensor(self.X), self.torch.tensor(self.y)
        functional = self.torch.nn.functional
        binary = functional.binary_cross_entropy_with_logits
        self.loss = binary if self.outputs == 1 else functional.cross_entropy

    def train(self, epochs):
        """Fit once."""
        w, b = (self.torch.tensor(x, requires_grad=True) for x in self.starts())
        opt = self.torch.optim.Adam([w, b], lr=1e-3, fused=True)
        for order in map(self.torch.from_numpy, self.orders(epochs)):
            for some in order:
                opt.zero_grad()
                self.loss(self.X_[some] @ w + b, self.y_[some]).backward()
                opt.step()
        self.found = w.detach(), b.detach()


class Optax(Job):
    """Epochs of optax, each compiled by JAX as one loop."""

    def __init__(self, *problem):
        super().__init__(*problem)
        jax, optax = load("jax"), load("optax")
        jax.config.update("jax_enable_x64", self.dtype == "float64")
        self.jax, self.adam = jax, optax.adam(1e-3)
        self.X_, self.y_ = jax.numpy.asarray(self.X), jax.numpy.asarray(self.y)
        name = "softmax_cross_entropy_with_integer_labels"
        one = optax.sigmoid_binary_cross_entropy if self.outputs == 1 else getattr(optax, name)

        def objective(params, x, t):
            w, b = params
            return jax.numpy.mean(one(x @ w + b, t))

        @jax.jit
        def epoch(params, state, order, X, y):
            def step(carry, some):
                params, state = carry
                grads = jax.grad(objective)(params, X[some], y[some])
                updates, state = self.adam.update(grads, state, params)
                return (optax.apply_updates(params, updates), state), None

            return jax.lax.scan(step, (params, state), order)[0]

        self.epoch = epoch

    def train(self, epochs):
        """Fit once."""
        params = tuple(map(self.jax.numpy.asarray, self.starts()))
        state = self.adam.init(params)
        for order in map(self.jax.numpy.asarray, self.orders(epochs)):
            params, state = self.epoch(params, state, order, self.X_, self.y_)
        self.found = self.jax.block_until_ready(params)


JOBS = {"fallline": Ours, "torch fused": Torch, "optax scan": Optax}


class MiniBatches(Timed):
    """An epoch of Adam, batch 256."""

    params = (tuple(JOBS), few((5, 1)), few(DTYPES))
    param_names = ("who", "outputs", "dtype")
    budget, least = 1.0, 2

    def make(self, who, outputs, dtype):
        """Return the job."""
        return JOBS[who](outputs, dtype)


def full_batch(who, dtype):
    """Return L-BFGS on all data, to the loss that scikit-learn's default tolerance reaches."""
    X, y = data(1, dtype)
    theirs = load("sklearn.linear_model").LogisticRegression(C=1.0)
    if who != "fallline":
        return lambda: theirs.fit(X, y)
    found = theirs.fit(X, y)
    loss = value(1, found.coef_[0], found.intercept_[0], X, y, 1 / len(X))
    stop = fl.stop.Target(loss) | fl.stop.GradientNorm(0.0)

    def fit():
        found = fl.fit(model(1, 1 / len(X)), (X, y), method="lbfgs", stop=stop)
        assert found.loss <= loss or found.status == 2  # in float32 rounding may hide the rest

    return fit


class FullBatch(Timed):
    """L-BFGS on all data, to scikit-learn's loss."""

    params = (("fallline", "scikit-learn"), few(DTYPES))
    param_names = ("who", "dtype")
    budget, least = 1.0, 2

    def make(self, who, dtype):
        """Return the fit."""
        return full_batch(who, dtype)


class Sparse(Timed):
    """Four epochs over 100,000 rows of 50,000 features, 50 of them not zero; batch 512."""

    params = (("fallline", "scikit-learn"),)
    param_names = ("who",)
    budget, least = 1.0, 2

    def make(self, who):
        """Draw the data, and return the fit."""
        sparse, linear = load("scipy.sparse"), load("sklearn.linear_model")
        rng = np.random.default_rng(0)
        n, d, k = rows(100_000), 50_000, 50
        places = rng.integers(0, d, n * k, dtype=np.int32)  # as scikit-learn wants them
        ends = np.arange(0, n * k + 1, k, dtype=np.int32)
        X = sparse.csr_array((rng.random(n * k), places, ends), shape=(n, d))
        X.sum_duplicates()
        y = (rng.random(n) > 0.5).astype(float)
        if who != "fallline":
            theirs = linear.SGDClassifier(loss="log_loss", max_iter=EPOCHS, tol=None)
            return lambda: theirs.fit(X, y)
        options = {"method": fl.SGD(0.1), "batch_size": 512, "epochs": EPOCHS, "rng": 0}
        return lambda: fl.fit(model(1, 1e-4), (X, y), **options)


class Streaming:
    """Memory while `fit` goes through a memory map of 2 GB."""

    timeout = 600

    def setup(self):
        """Make the file, of zeros that the disk need not hold."""
        import tempfile

        self.file = tempfile.NamedTemporaryFile()  # noqa: SIM115
        n = rows(500_000, 10_000)
        self.X = np.memmap(self.file.name, np.float32, "w+", shape=(n, 1000))
        self.y = np.zeros(n, np.float32)

    def peakmem_fit(self):
        """One epoch over batches of 5,000 rows in their order."""
        stream = fl.Batches(self.X, self.y, batch_size=5000, shuffle=False)
        linear = fl.LinearModel(fl.losses.SquaredError())
        params = linear.initialize(self.X, self.y)
        fl.fit(linear, stream, params=params, method=fl.Adam(0.1), epochs=1)

    def teardown(self):
        """Remove the file."""
        self.file.close()


def breast_cancer(who):
    """Return a fit of an estimator with its defaults to 569 x 30 numbers."""
    datasets, linear = load("sklearn.datasets"), load("sklearn.linear_model")
    X, y = datasets.load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    if who == "scikit-learn":
        theirs = linear.LogisticRegression()
        return lambda: theirs.fit(X, y)
    from fallline.estimators import LinearClassifier

    ours = LinearClassifier(alpha=1 / len(y))  # the same objective
    return lambda: ours.fit(X, y)


def one_row_at_a_time(who):
    """Return an epoch of plain gradient descent with batches of one row; it returns its rows."""
    linear = load("sklearn.linear_model")
    n = rows(10_000)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 30))
    y = (X @ rng.standard_normal(30) + rng.logistic(size=n) > 0).astype(float)
    if who == "scikit-learn":
        options = {"loss": "log_loss", "learning_rate": "constant", "eta0": 0.01, "tol": None}
        theirs = linear.SGDClassifier(alpha=1e-4, max_iter=1, **options)
        run = lambda: theirs.fit(X, y)  # noqa: E731
    else:
        options = {"method": fl.GradientDescent(0.01), "batch_size": 1, "epochs": 1, "rng": 0}
        run = lambda: fl.fit(model(1, 1e-4), (X, y), **options)  # noqa: E731

    def epoch():
        run()
        return n

    return epoch


FITS = {"breast cancer": breast_cancer, "one row at a time": one_row_at_a_time}


class Small(Timed):
    """Fits of which little is arithmetic: an estimator on few rows, and batches of one row."""

    params = (("fallline", "scikit-learn"), tuple(FITS))
    param_names = ("who", "fit")

    def make(self, who, fit):
        """Return the fit."""
        return FITS[fit](who)
