"""The figures of experiments/README.md, each drawn from what was kept in results/."""

from pathlib import Path

from experiments.kept import mnist_members, read_rows, read_run, read_scores, table
from experiments.kept import relative_t_error as kept_relative_t_error
from experiments.tables import BOUNDS, swept, walks_in_steps_of_k
from secmi_exp.evaluation.scored import Scored
from secmi_exp.reporting import run_figures
from secmi_exp.reporting.drawing import COLOURS, figure_with_axes, remove_box, use_log_scale
from secmi_exp.reporting.ranking_figures import draw_ranking_cost
from secmi_exp.reporting.results_file import Estimate
from secmi_exp.reporting.sweep_figures import draw_curve, draw_sweep, draw_tradeoff


def axes(name: str, path: Path) -> None:
    """AUC and ASR over what was swept."""
    rows = read_rows(table(name))
    draw_sweep(path, rows, swept(rows))


def tradeoff(name: str, path: Path) -> None:
    """AUC against the target's quality."""
    rows = read_rows(table(name))
    draw_tradeoff(path, rows, swept(rows))


def cost(name: str, path: Path) -> None:
    """AUC of attacks against their queries."""
    draw_ranking_cost(path, read_rows(table(name)), "AUC and its cost: ddpm_small, digits", "AUC [95% interval]")


def frontier(name: str, path: Path) -> None:
    """AUC against queries, on each target: of SecMI by its timestep and intervals, and of attacks of one or two."""
    rows, others = read_rows(table(name)), read_rows(table(f"{name}_others"))
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    with figure_with_axes(path, (4.6 * len(datasets), 4.2), columns=len(datasets)) as (_, panels):
        for axes, dataset in zip(panels, datasets, strict=True):
            own = [row for row in rows if row["dataset"] == dataset]
            for colour, t_sec in zip(COLOURS, dict.fromkeys(row["attack.t_sec"] for row in own), strict=False):
                for walked, marker in ((True, "o"), (False, "^")):
                    some = [row for row in own if row["attack.t_sec"] == t_sec and walks_in_steps_of_k(row) == walked]
                    queries, aucs = ([float(row[each]) for row in some] for each in ("queries_per_sample", "auc"))
                    way = "each step of k" if walked else "longer steps"
                    axes.scatter(queries, aucs, 26, colour, marker, alpha=0.8, label=f"t_sec = {t_sec}, {way}")
            for row in sorted((row for row in others if dataset in row["contest"]), key=lambda row: row["attack"]):
                point = float(row["queries_per_sample"]), float(row["auc"])
                axes.scatter(
                    *point, 44, {"pia": COLOURS[3], "sima": COLOURS[4]}[row["attack"]], "*", label=row["attack"]
                )
            axes.set_xscale("log")
            axes.set_xticks([1, 2, 3, 5, 10, 20], ["1", "2", "3", "5", "10", "20"])
            axes.set_xticks([], minor=True)
            axes.set_title(dataset)
            axes.set_xlabel("queries an image")
            remove_box(axes)
        panels[0].set_ylabel("AUC")
        panels[-1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def learning_curve(name: str, path: Path) -> None:
    """AUC over the images a side that an attack may learn from, with the intervals of the mean of several draws."""
    rows = [row for row in read_rows(table(name)) if row["contest"]]
    attacks = dict.fromkeys(row["attack"] for row in rows)
    with figure_with_axes(path, (6.4, 4.2)) as (_, (axes,)):
        for colour, attack in zip(COLOURS, attacks, strict=False):
            own = [row for row in rows if row["attack"] == attack]
            sizes = [float(row["contest"].partition("attack_train=")[2].split()[0]) * mnist_members() for row in own]
            draw_curve(axes, sizes, [Estimate.from_row(row, "auc") for row in own], colour)
            axes.lines[-1].set_label(attack)
        use_log_scale(axes)
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes], minor=False)
        axes.set_xticks([], minor=True)
        axes.set_xlabel("images a side that an attack may learn from")
        axes.set_ylabel("AUC")
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        remove_box(axes)


def audits(name: str, path: Path) -> None:
    """Lower bounds on ε of each training, undefended ones first, and the ε that its accountant states."""
    rows = [*read_rows(table("undefended_audit")), *read_rows(table(name))]
    labels = [row["settings"].replace(" ", "\n") for row in rows]
    height = 1.2 + 0.14 * sum(label.count("\n") + 2 for label in labels)
    with figure_with_axes(path, (8.6, height)) as (_, (axes,)):
        for place, (bound, title) in enumerate(BOUNDS.items()):
            at = [number - 0.21 + 0.14 * place for number in range(len(rows))]
            values = [float(row[bound]) for row in rows]
            axes.plot(values, at, "o", color=COLOURS[place], markersize=5, label=f"ε ≥, {title}")
        spent = [(float(row["epsilon_spent"]), place) for place, row in enumerate(rows) if row["epsilon_spent"]]
        axes.plot(*zip(*spent, strict=True), "|", color="black", markersize=14, label="ε spent (opacus)")
        axes.set_xscale("symlog", linthresh=10, linscale=4)
        furthest = 10 * max(epsilon for epsilon, _ in spent)
        ticks = [0, 2, 4, 6, 8, 10, *(10**power for power in range(2, 12, 2) if 10**power <= furthest)]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlim(-0.4, furthest)
        axes.set_yticks(range(len(rows)), labels, fontsize=7)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel("ε of differential privacy, logarithmic above 10; bounds with 95% confidence each")
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        remove_box(axes)


def relative_t_error(name: str, path: Path) -> None:
    """T-errors of hold-outs relative to members over timesteps."""
    run_figures.draw_relative_t_error(path, kept_relative_t_error(read_run(name)), t_sec(name), subject(name))


def t_errors(name: str, path: Path) -> None:
    """Their distributions with the threshold."""
    run_figures.draw_t_errors(path, read_scores(name)["t_error"], subject(name), t_sec(name))


def roc(name: str, path: Path) -> None:
    """On linear axes."""
    run_figures.draw_roc(path, scorers(name), subject(name), logarithmic=False)


def roc_log(name: str, path: Path) -> None:
    """On logarithmic axes."""
    run_figures.draw_roc(path, scorers(name), subject(name), logarithmic=True)


def scorers(name: str) -> dict[str, Scored]:
    """Without the t-errors."""
    columns = read_scores(name).items()
    return {column.removeprefix("score_"): scored for column, scored in columns if column.startswith("score_")}


def subject(name: str) -> str:
    """What was attacked."""
    results = read_run(name)
    return f"{results.target}, {results.dataset}"


def t_sec(name: str) -> int:
    """The timestep of a run."""
    value = read_run(name).t_sec
    assert value is not None
    return value
