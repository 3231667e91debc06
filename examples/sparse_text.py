"""
Sparse text
===========

Texts told apart by their words: sparse counts, Adagrad, and no dense copy of the data.

Three random topics, distributions over 20,000 words of which most are rare, write the texts. The
bag of words is a sparse matrix, whose batches stay sparse; Adagrad gives rare words the large
steps that they need. Writes a picture of the curves and of the confusions.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import sparse

import fallline as fl

parser = argparse.ArgumentParser(description="sparse text")
parser.add_argument("--texts", type=int, default=2000)
parser.add_argument("--plot", type=Path, default=Path("sparse_text.png"))
options = parser.parse_args()

# %%
# Words follow Zipf's law; each topic likes some words more than the others do.

n_words, n_topics = 20_000, 3
rng = np.random.default_rng(0)
common = 1 / np.arange(1, n_words + 1)
topics = common * np.exp(0.8 * rng.standard_normal((n_topics, n_words)))
topics /= topics.sum(axis=1, keepdims=True)

y = rng.integers(0, n_topics, options.texts)
lengths = rng.integers(20, 80, options.texts)
words = np.concatenate(
    [rng.choice(n_words, size, p=topics[topic]) for size, topic in zip(lengths, y, strict=True)]
)
texts = np.repeat(np.arange(options.texts), lengths)
X = sparse.csr_matrix((np.ones(len(words)), (texts, words)), shape=(options.texts, n_words))
X.data = np.log1p(X.data)
print(f"{X.shape[0]} texts, {X.shape[1]} words, {X.nnz / X.shape[0]:.0f} of them in a text")

# %%
# Softmax regression; the last fifth of the texts is held out. Each rule has about the best of
# nine rates by accuracy on held-out texts, so these accuracies flatter both.

held_out = options.texts * 4 // 5
train, test = (X[:held_out], y[:held_out]), (X[held_out:], y[held_out:])
model = fl.LinearModel(fl.losses.SoftmaxCrossEntropy(), fl.L2(1e-5))
runs, predictions = {}, {}
for name, rule in {"Adagrad": fl.Adagrad(0.1), "SGD": fl.SGD(5.0)}.items():
    runs[name] = fl.fit(model, train, method=rule, batch_size=64, epochs=10, rng=0, validation=test)
    predictions[name] = np.argmax(runs[name].predict(test[0]), axis=1)
    accuracy = np.mean(predictions[name] == test[1])
    print(f"{name:8}: held-out accuracy {accuracy:.3f}, {runs[name].seconds:.1f} s")

# %%
# The picture, where matplotlib is installed.

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("no picture: matplotlib is not installed")
else:
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    fl.plotting.loss_curves(runs["Adagrad"], axes[0]).set_title("Adagrad")
    fl.plotting.compare(runs, axes[1], name="validation_loss").set_title("held-out loss")
    counts = np.zeros((n_topics, n_topics), int)
    np.add.at(counts, (test[1], predictions["Adagrad"]), 1)
    axes[2].imshow(counts, cmap="Blues")
    for (i, j), count in np.ndenumerate(counts):
        axes[2].text(j, i, count, ha="center", va="center", color="w" if i == j else "k")
    axes[2].set(xlabel="predicted topic", ylabel="topic", xticks=range(3), yticks=range(3))
    axes[2].set_title("held-out texts")
    figure.savefig(options.plot, dpi=100)
    print(f"picture: {options.plot}")
