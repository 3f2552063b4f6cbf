"""The parameters of a fetch, described; `pipeline.web.hub_query` reads them. Contract: dispatcher 2, 10."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from pipeline.web.routes import Asked

Action = Literal["sourced", "extracted", "augmented", "mapped", "enriched"]
Flag = Literal["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False", ""]


class FetchQuery(
    Asked, frozen=True, rename=lambda name: name if name == "deployment_key" else name.replace("_", "-")
):
    """The query of a fetch. Further parameters are ignored; of a scalar the first occurrence counts."""

    name: Annotated[str, Meta(description="Name of the consumer.")] = ""
    version: Annotated[str, Meta(description="Version of the consumer; another one starts anew.")] = ""
    deployment_key: Annotated[str, Meta(description="Groups instances for scaling; recorded only.")] = ""
    r_expedite: Annotated[
        Flag, Meta(description="Read the expedite queue (binary only). One of the three is needed.")
    ] = ""
    r_live: Annotated[Flag, Meta(description="Read what arrives after the first fetch.")] = ""
    r_historic: Annotated[Flag, Meta(description="Read from the beginning.")] = ""
    count: Annotated[int, Meta(description="Events wanted; cut to `hub.fetch_limit`.")] = 1
    deadline: Annotated[
        int,
        Meta(
            description="Longest wait in seconds, at most 60; 0: none. Default: `hub.default_wait_seconds`."
        ),
    ] = 5
    avro_format: Annotated[Flag, Meta(description="Answer the events as an Avro bulk.")] = ""
    is_task: Annotated[Flag, Meta(description="Without effect: the route decides.")] = ""
    r_source: Annotated[tuple[str, ...], Meta(description="Only these sources.")] = ()
    r_action: Annotated[tuple[Action, ...], Meta(description="Only these actions.")] = ()
    d_action: Annotated[tuple[Action, ...], Meta(description="None of these actions.")] = ()
    r_content: Annotated[
        Flag,
        Meta(description="Only sourced and extracted events with content; not with r-action, d-action."),
    ] = ""
    r_under_content_size: Annotated[int, Meta(description="Content of at most so many bytes; 0: any.")] = 0
    r_over_content_size: Annotated[int, Meta(description="Content of at least so many bytes; 0: any.")] = 0
    r_streams: Annotated[
        tuple[str, ...],
        Meta(description="`label[,start of a format…]`; label `*` is any other. All streams must fit."),
    ] = ()
    d_self: Annotated[Flag, Meta(description="No events whose author has the consumer's name.")] = ""
    max_security: Annotated[str, Meta(description="Only what a holder of this marking may read.")] = ""
    debug: Annotated[Flag, Meta(description="Read from a position of its own.")] = ""
    reset: Annotated[Flag, Meta(description="Drop the position first.")] = ""
    filter: Annotated[
        str,
        Meta(description="Path into the event in GJSON syntax; only events in which it finds something."),
    ] = ""
    ignore_historic: Annotated[
        Flag, Meta(description="Old: false is r-historic; true leaves that out, and is r-live alone.")
    ] = ""
    timeout: Annotated[int, Meta(description="Old name of deadline.")] = 5
    requires_data: Annotated[Flag, Meta(description="Old name of r-content.")] = ""
    f_max_content_size: Annotated[int, Meta(description="Old name of r-under-content-size.")] = 0
    f_min_content_size: Annotated[int, Meta(description="Old name of r-over-content-size.")] = 0
    f_allow_event_type: Annotated[
        tuple[str, ...], Meta(description="Old name of r-action; commas may separate several.")
    ] = ()
    f_deny_event_type: Annotated[
        tuple[str, ...], Meta(description="Old name of d-action; commas may separate several.")
    ] = ()
    f_self: Annotated[Flag, Meta(description="Old name of d-self.")] = ""
    f_data_type: Annotated[tuple[str, ...], Meta(description="Old name of r-streams.")] = ()
