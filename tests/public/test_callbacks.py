"""Callbacks as classes: hooks that nothing would call."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.callbacks import Callback, EarlyStopping


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("on_epoch_end", "on_epoch"),
        ("on_epochs", "on_epoch"),
        ("on_epoch_begin", "on_epoch"),
        ("on_steps", "on_step"),
        ("on_train_batch_end", "on_step"),
        ("on_train_begin", "on_start"),
        ("on_train_end", "on_end"),
        ("on_something_else", "on_"),
    ],
)
@pytest.mark.parametrize("base", [Callback, EarlyStopping])
@pytest.mark.parametrize("kind", [lambda f: f, staticmethod, classmethod])
def test_a_hook_of_another_name_is_refused_when_its_class_is_made(name, nearest, base, kind):
    words = rf"^Mine\.{name}: is a method that nothing calls, expected {nearest}"
    with pytest.raises(TypeError, match=words):
        type("Mine", (base,), {name: kind(lambda *args: None)})
    with pytest.raises(TypeError, match=r"the hooks are on_start, on_step, on_epoch, on_end$"):
        type("Mine", (base,), {name: lambda self, run: None})


def test_what_is_no_hook_may_have_any_name():
    calls = []

    class Mixin:
        def on_epoch_end(self):
            """Is called by the hook below."""
            calls.append("mixin")

    class Mine(Mixin, Callback):
        on_colour = "red"
        online = True

        def on_start(self, run):
            calls.append("start")

        def on_step(self, run):
            calls.append("step")

        def on_epoch(self, run):
            self.on_epoch_end()

        def on_end(self, run):
            calls.append("end")

        def _on_secret(self):
            """Is nobody's business."""

        def only(self):
            """Begins with the same letters."""

    model = fl.LinearModel(fl.losses.SquaredError())
    data = np.ones((2, 1)), np.ones(2)
    fl.fit(model, data, method=fl.SGD(0.1), epochs=1, callbacks=[Mine()])
    assert calls == ["start", "step", "mixin", "end"]


def test_keywords_of_a_class_go_on():
    class Named:
        def __init_subclass__(cls, *, label, **options):
            super().__init_subclass__(**options)
            cls.label = label

    class Mine(Callback, Named, label="a"):
        pass

    assert Mine.label == "a"
