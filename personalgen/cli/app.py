"""All commands in one place."""

import typer

from personalgen.cli.asset_lists import add_lists
from personalgen.cli.assets import assets
from personalgen.cli.catalogue import catalogue
from personalgen.cli.doctor import doctor
from personalgen.cli.evaluation import evaluate
from personalgen.cli.forgetting import forget, forgotten
from personalgen.cli.health import health
from personalgen.cli.models import models
from personalgen.cli.night import add_steps, nightly
from personalgen.cli.nights import nights
from personalgen.cli.other_nights import backfill, generate_only, retrain
from personalgen.cli.recommendations import recommendations
from personalgen.cli.repair import repair
from personalgen.cli.serve import serve
from personalgen.cli.state import state
from personalgen.cli.status import status
from personalgen.cli.training import sweep, train
from personalgen.cli.world import world

app = typer.Typer(
    name="personalgen",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Nightly personalised images: history tables to preferences to a conditioned GAN to one image for every user.",
    epilog="Every command takes --debug, which shows the trace of an error.",
)
app.command()(nightly)
app.command()(retrain)
app.command("generate-only")(generate_only)
app.command()(backfill)
app.command()(serve)
add_steps(app)
app.command("evaluate")(evaluate)
app.command()(train)
app.command()(sweep)
add_lists(assets)
app.add_typer(assets, name="assets", help="What was made for whom and why.")
app.add_typer(catalogue, name="catalogue", help="The database behind it all, and who may ask it.")
app.add_typer(models, name="models", help="Model versions, and what users see.")
app.add_typer(recommendations, name="recommendations", help="What people may like next, and who and what is alike.")
app.add_typer(state, name="state", help="What is known of users, built apart from any night.")
app.add_typer(nights, name="nights", help="The nights, and deleting one.")
app.command()(repair)
app.command()(forget)
app.command()(forgotten)
app.add_typer(world, name="world", help="The simulated history of a demo.")
app.command()(doctor)
app.command()(status)
app.command()(health)
