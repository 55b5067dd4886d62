"""The verdict on a challenger as an artifact of the flow run; catalogue and MLflow hold it whatever happens here."""

import logging

from prefect import runtime
from prefect.artifacts import create_markdown_artifact

KEY = "promotion"
"""The artifact's key: Prefect lists its versions, one for each night."""


def tell_verdict(markdown: str, *, day: str) -> None:
    """Keep the verdict of a night beside its flow run; outside of one there is nothing to keep it beside.

    A server that does not answer fails no night: then it is a warning in the log.
    """
    if runtime.flow_run.id is None:
        return
    try:
        create_markdown_artifact(markdown, key=KEY, description=f"What became of the challenger of {day}")
    except Exception as error:  # noqa: BLE001 - whatever Prefect's client raises, the verdict stands elsewhere
        logging.getLogger(__name__).warning(
            "the verdict of %s is no artifact of the flow run, as Prefect did not take it: %s. It stands in "
            "`personalgen models history` and on the model version.",
            day,
            error,
        )
