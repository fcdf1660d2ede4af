"""The paper's claims that can be checked at laptop scale, each with what was found, its interval and a verdict."""

from collections.abc import Iterator

from experiments.kept import Row, mnist_members, read_rows, read_run, relative_t_error, table
from experiments.tables import heading, line
from secmi_exp.reporting.results_file import Estimate

GAN_ERA = ("gan_leaks", "monte_carlo_set", "over_representation", "logan", "tvd")
LEVEL = 0.05
"""Of a test."""
NEAR = 0.05
"""What AUC may differ by and still be called stable."""


def markdown() -> str:
    """A row for each claim: what the paper says, what was found, and whether that bears it out."""
    found = [larger_t_errors("quickstart"), *nn_above_stat(), *nn_above_stat_by_size(), stable_over_timesteps()]
    found += [near_chance(), training_leaks(), fewer_members_leak(), averaging_leaks(), private_training()]
    return "\n".join([*heading(["the paper", "found", "holds here"]), *(line(list(each)) for each in found)])


Claim = tuple[str, str, str]


def larger_t_errors(name: str) -> Claim:
    """Figure 2."""
    results = read_run(name)
    relative = relative_t_error(results)
    columns = zip(relative.ratio, relative.low, relative.high, relative.timesteps, strict=True)
    ratio, low, high, t = min(columns)
    against = [str(t) for t, low in zip(relative.timesteps, relative.low, strict=True) if low <= 1]
    verdict = f"not at t_sec = {', '.join(against)}" if against else "yes"
    where = f"{results.dataset}: {ratio:.2f} [{low:.2f}, {high:.2f}] times as large at the least, at t_sec = {t}"
    return "hold-outs have larger t-errors than members at every t (figure 2)", where, verdict


NN_ABOVE_STAT = "SecMI_NN is above SecMI_stat (AUC 0.949 against 0.881, mean of four datasets)"


def nn_above_stat() -> Iterator[Claim]:
    """The tables of ASR and AUC; DeLong's paired test."""
    rows = read_rows(table("datasets"))
    for contest in dict.fromkeys(row["contest"] for row in rows):
        aucs = {row["scorer"]: Estimate.from_row(row, "auc") for row in rows if row["contest"] == contest}
        (p,) = (float(row["p_value"]) for row in rows if row["contest"] == contest and row["p_value"])
        where = f"{contest}: {aucs['nn']} against {aucs['stat']}, p = {p:.2g}"
        above = float(aucs["nn"].value or 0) > float(aucs["stat"].value or 0)
        yield NN_ABOVE_STAT, where, "undecided" if p > LEVEL else "yes" if above else "no"


def nn_above_stat_by_size() -> Iterator[Claim]:
    """The learning curve: mean differences over the draws of the part that is learnt from, on the same images."""
    networks = {"nn": "chosen by cross-validation", "nn_paper": "the paper's ResNet-18"}
    for row in read_rows(table("mnist_pairs")):
        pair = row["first"], row["second"]
        found_networks = [name for name in pair if name in networks]
        if "stat" not in pair or not found_networks:
            continue
        sign = -1 if pair[0] == "stat" else 1
        found = Estimate.from_row(row, "auc_difference")
        low, high = sorted(sign * float(each or 0) for each in (found.low, found.high))
        size = round(float(row["contest"].rpartition("=")[2]) * mnist_members())
        difference = f"{sign * float(found.value or 0):+.3f} [{low:+.3f}, {high:+.3f}]"
        where = f"mnist5k, {size} a side to learn from, {networks[found_networks[0]]}: AUC {difference} against stat"
        yield NN_ABOVE_STAT, where, "yes" if low > 0 else "no" if high < 0 else "undecided"


def stable_over_timesteps() -> Claim:
    """Figure 5."""
    aucs = {int(row["attack.t_sec"]): value(row) for row in read_rows(table("timesteps"))}
    near = [t for t, auc in aucs.items() if auc > max(aucs.values()) - NEAR]
    where = (
        f"AUC within {NEAR} of the best at t_sec = {', '.join(map(str, near))}, and {min(aucs.values()):.3f} at least"
    )
    verdict = "yes, at smaller t on smaller images" if len(near) > 2 else "no"
    return "AUC is stable over a range of t, 50 … 150 (figure 5)", where, verdict


def near_chance() -> Claim:
    """Figure 1 and table 1."""
    aucs = {row["attack"]: Estimate.from_row(row, "auc") for row in read_rows(table("attacks"))}
    off = [name for name in GAN_ERA if not (aucs[name].low or 0) <= 0.5 <= (aucs[name].high or 0)]
    where = ", ".join(f"{name} {aucs[name]}" for name in GAN_ERA)
    verdict = f"not for {', '.join(off)}" if off else "yes"
    return "attacks of the GAN and VAE era are near chance (figure 1, table 1)", where, verdict


def training_leaks() -> Claim:
    """An ablation."""
    claim = "a longer training leaks more"
    return monotone(claim, read_rows(table("training_length")), "target.max_steps", "steps", rising=True)


def fewer_members_leak() -> Claim:
    """An ablation."""
    return monotone("fewer members leak more", read_rows(table("members")), "split.members", "members", rising=False)


def monotone(claim: str, rows: list[Row], setting: str, unit: str, *, rising: bool) -> Claim:
    """AUC at the ends of a setting's range, and whether it goes one way between them."""
    first, last = (Estimate.from_row(rows[place], "auc") for place in (0, -1))
    where = f"{first} at {rows[0][setting]} {unit}, {last} at {rows[-1][setting]}"
    aucs = [value(row) for row in rows]
    ordered = aucs == sorted(aucs, reverse=not rising)
    apart = _above(last, first) if rising else _above(first, last)
    return claim, where, "yes" if ordered and apart else "only between the ends" if apart else "no"


def averaging_leaks() -> Claim:
    """The paper attacks averaged weights."""
    averaged, raw = (Estimate.from_row(row, "auc") for row in read_rows(table("averaging")))
    verdict = "yes" if _above(averaged, raw) else "intervals overlap"
    return (
        "averaged weights are attacked; do they leak more than the last step's?",
        f"{averaged} against {raw}",
        verdict,
    )


def private_training() -> Claim:
    """Defenses."""
    plain, private = read_rows(table("dp_sgd"))
    auc = Estimate.from_row(private, "auc")
    leak = "no leak is found" if (auc.low or 0) <= 0.5 <= (auc.high or 0) else "a leak is left"
    worse = _above(Estimate.from_row(private, "denoising_loss"), Estimate.from_row(plain, "denoising_loss"))
    found = f"{_both(private)} at ε = {float(private['epsilon_spent']):.3g}; {_both(plain)} undefended"
    return "DP-SGD keeps the DDPM from converging", found, f"{leak}, {'and' if worse else 'but not'} a worse model"


def _both(row: Row) -> str:
    """Leak and quality."""
    return f"AUC {Estimate.from_row(row, 'auc')}, loss on hold-outs {Estimate.from_row(row, 'denoising_loss')}"


def value(row: Row) -> float:
    """AUC."""
    return float(row["auc"])


def _above(one: Estimate, other: Estimate) -> bool:
    """Whether the intervals are apart."""
    return one.low is not None and other.high is not None and one.low > other.high
