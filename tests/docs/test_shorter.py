"""The recipe that tests run is the demo's, only shorter."""

from __future__ import annotations

from pathlib import Path

from shorter import BENCH_SECONDS, EPOCHS, shortened

from exporter.recipe import load_recipe

RECIPE = Path(__file__).parents[2] / "examples" / "digits" / "recipe.toml"


def test_the_shortened_recipe_differs_in_its_length_alone(tmp_path):
    whole = load_recipe(RECIPE).model_dump(exclude={"budget"})
    short = load_recipe(shortened(RECIPE, tmp_path)).model_dump(exclude={"budget"})

    for section in ("train", "prune", "share", "quantize"):
        assert short[section].pop("epochs") == EPOCHS
        assert whole[section].pop("epochs") > EPOCHS
    assert short["bench"].pop("seconds") == BENCH_SECONDS
    assert whole["bench"].pop("seconds") > BENCH_SECONDS
    assert short == whole
