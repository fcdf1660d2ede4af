"""Save a view to a project at Weights & Biases that compares its attacks: how much they find, ROC, t-errors, training.

python -m experiments.dashboard PROJECT                         # all runs, by sweep and attack
python -m experiments.dashboard PROJECT --group 12-00-00-123456 # one sweep
python -m experiments.dashboard PROJECT --print                 # the view as JSON, nothing saved, no network
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from secmi_exp.configuration.folders import CONF
from secmi_exp.errors import UserError, first_line
from secmi_exp.reporting.results_file import METRIC_NAMES

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Section, Workspace

STEP = "trainer/global_step"  # the axis of what trainers log
COMPARED = ("auc", "asr", "accuracy_calibrated", "tpr_at_1pct_fpr")
FIGURES = ("scores", "exposed", "t_errors", "relative_t_error")


def main(given: Sequence[str] | None = None) -> None:
    """Save or print the view; a user's mistake ends in one sentence and exit status 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", metavar="PROJECT", help="as logger.project")
    parser.add_argument("--entity", help="user or team; by default yours")
    parser.add_argument("--group", help="of one sweep: the name of its directory, or the setting group")
    parser.add_argument("--print", action="store_true", help="print the view as JSON instead of saving it")
    arguments = parser.parse_args(given)
    try:
        if arguments.print:
            print(specification(view(arguments.project, arguments.entity or "", arguments.group)))
        else:
            print(save(arguments.project, arguments.entity, arguments.group))
    except UserError as error:
        sys.stderr.write(f"experiments.dashboard: {error}\n")
        sys.exit(1)


def save(project: str, entity: str | None, group: str | None) -> str:
    """Save the view; its address.

    Raises:
        UserError: without credentials, where the server can't be reached, and where it refuses.
    """
    built = view(project, entity or "", group)
    import wandb

    from secmi_exp.tracking.wandb_settings import has_credentials

    if not has_credentials():
        print(specification(built))
        raise UserError("There are no credentials for Weights & Biases here: run `wandb login` to save the view.")
    try:
        built.entity = built.entity or wandb.Api().default_entity
        return str(built.save().url)
    except Exception as error:  # W&B raises several kinds, by what failed first
        raise UserError(
            f"The view of {project} can't be saved at Weights & Biases ({first_line(error)}): check the network, "
            "PROJECT and --entity, or see it by --print."
        ) from error


def specification(view: Workspace) -> str:
    """What would be saved, as JSON."""
    return view._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=1)


def view(project: str, entity: str, group: str | None) -> Workspace:
    """The view; runs are grouped by sweep and attack, panels of what it does not name follow behind its own.

    Raises:
        UserError: where wandb-workspaces is not installed.
    """
    try:
        from wandb_workspaces import expr
        from wandb_workspaces import workspaces as ws
    except ImportError as error:
        raise UserError(
            f"The dashboard needs wandb-workspaces ({first_line(error)}): pip install wandb-workspaces."
        ) from error
    sweep, attack = expr.Metric("Group"), expr.Metric("JobType")
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"Attacks of {group}" if group else "Attacks",
        sections=sections(),
        settings=ws.WorkspaceSettings(max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=[sweep == group] if group else [],
            groupby=[attack] if group else [sweep, attack],
            order=[expr.Ordering(expr.Summary("attack/auc"), ascending=False)],
            pinned_columns=[f"summary:attack/{metric}" for metric in COMPARED],
        ),
        auto_generate_panels=True,
    )


def sections() -> list[Section]:
    """What the view shows, by names that runs log."""
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces.workspaces import Section

    scorers = sorted(path.stem for path in (CONF / "attack").glob("*.yaml"))
    names = [METRIC_NAMES[metric] for metric in COMPARED]
    curve = {"chart_name": "wandb/line/v0", "chart_fields": {"x": "fpr", "y": "tpr"}}
    leak = [wr.BarPlot(title=name, metrics=[f"attack/{key}"]) for key, name in zip(COMPARED, names, strict=True)]
    by_scorer = [
        wr.BarPlot(title=f"{name}, every scorer", metrics=[f"{scorer}/{key}" for scorer in scorers])
        for key, name in zip(COMPARED, names, strict=True)
    ]
    roc = [
        wr.CustomChart(
            query={"summaryTable": {"tableKey": f"{scorer}/roc_table"}},
            chart_strings={"title": f"ROC of {title}"},
            **curve,
        )
        for scorer, title in (("attack", "each attack"), ("stat", "SecMI_stat"), ("nn", "SecMI_NN"))
    ]
    training = [wr.LinePlot(title=name, x=STEP, y=[name]) for name in ("target/loss", "target/lr", "nn/loss")]
    comparison = [wr.MediaBrowser(media_keys=[f"figures/comparison_{name}"]) for name in ("roc", "cost")]
    figures = [wr.MediaBrowser(title=name, media_keys=[f"figures/{name}"]) for name in FIGURES]
    ratios = wr.LinePlot(title="relative t-error", x="t_sec", y=["relative_t_error"])
    samples = wr.MediaBrowser(title="samples", media_keys=["target/samples"])
    return [
        Section(name="Leak", panels=leak, is_open=True),
        Section(name="ROC", panels=[*roc, wr.MediaBrowser(media_keys=["figures/roc_log"])], is_open=True),
        Section(name="Relative t-error", panels=[ratios], is_open=True),
        Section(name="Comparison of a sweep", panels=[wr.WeavePanelSummaryTable(table_name="comparison"), *comparison]),
        Section(name="Leak by scorer", panels=by_scorer),
        Section(name="Training", panels=[*training, samples]),
        Section(name="Figures", panels=figures),
    ]


if __name__ == "__main__":
    main()
