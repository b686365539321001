"""`adaptwin predictor`: make a dataset with the twin, train trees, score them, explain them."""

import typer

from adapter_predictor.explain_command import capacity, explain
from adapter_predictor.training.card_command import model_card
from adapter_predictor.training.commands import dataset, job, merge, train
from adapter_predictor.training.evaluate_command import evaluate

app = typer.Typer(
    name="predictor",
    help="Train, evaluate and explain the predictor.",
    no_args_is_help=True,
    add_completion=False,
)
for command in (explain, capacity, evaluate, train, dataset, merge, job):
    app.command()(command)
app.command("card")(model_card)
