"""The model card that lies beside the weights."""

from __future__ import annotations

from typing import Any

from degflow_pipe.training.recipe import TrainRecipe


def model_card(recipe: TrainRecipe, training: dict[str, Any]) -> str:
    """Markdown that says what the checkpoint is, what it was trained on, and how well it does."""
    levels = ", ".join(f"{level.name} (t = {level.t:g})" for level in recipe.data.knots)
    velocity, lfm, rae = recipe.model.velocity, recipe.lfm, recipe.model.rae
    rows = []
    for stage in (stage for stage in ("rae", "lfm", "joint") if stage in training):
        figures = training[stage]["figures"]
        shown = ", ".join(
            f"{name.removeprefix('psnr_')} {value:.2f} dB"
            if value is not None
            else f"{name.removeprefix('psnr_')} equal"
            for name, value in figures.items()
            if name.startswith("psnr_")
        )
        settings = training[stage]["settings"]
        spent = f"{figures['seconds'] / 60:.0f} min" if "seconds" in figures else "-"
        turns = "".join(
            f", went on at {step} of {of}" for step, of in training[stage].get("continued", [])
        )
        rows.append(f"| {stage} | {settings['steps']}{turns} | {spent} | {shown} |")
    table = "\n".join(rows)
    starts = {
        f"\n- Started from: {part['started_from']}, trained on "
        + "; before that on ".join(
            f"{d['source']} ({d['licence']})" for d in part["started_from_data"]
        )
        for part in (training, *map(training.get, ("rae", "lfm")))
        if part and "started_from" in part
    }
    return f"""# {recipe.name}

A DegFlow checkpoint: a residual autoencoder (D = {rae.width}, C = {rae.latent_channels}, head
`{rae.head}`) and a velocity net (nf = {velocity.width}, {velocity.blocks} blocks a level).

- Trained on: {recipe.data.source}
- Licence of the data: {recipe.data.licence}{"".join(sorted(starts))}
- Levels: {levels}; t = 1 stands for SR scale {recipe.data.s_max:g}
- Velocity: time_embedding `{velocity.time_embedding}`, condition `{velocity.condition}`,
  view `{velocity.view}`; latent loss `{lfm.latent_loss}`, perceptual
  `{lfm.perceptual}`, endpoint `{lfm.endpoint}`
- Between the knots: share of the samples in `rae` {recipe.rae.between:g}, in `joint` \
{recipe.joint.between if "joint" in training else 0:g}
- Held-out scenes: {", ".join(training["validation_scenes"])}

| stage | steps | training time | PSNR on held-out scenes, against the real picture |
|---|---|---|---|
{table}

For `rae` the figure is the rebuilt picture of a level, for `lfm` and `joint` the generated one.
"""
