"""The generated pages of the documentation: every setting of ``conf/``, and every attack.

Nothing of secmi_exp is imported: settings and their comments are read from the YAML files, and what a class is from the
docstrings in its source.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"

GROUPS = {
    "attack": "What is measured of each image, and how that becomes a score. Added with `+attack=…`.",
    "dataset": "Where the images come from and how they are prepared.",
    "split": "Which images are members, which are hold-outs, and which of them an attack may learn from.",
    "canaries": "Images inserted into a training to audit it, each left out by a fair coin. Chosen with `canaries=…`.",
    "target": "The model under attack: trained here, or made elsewhere.",
    "defense": "What is changed in the training of a DDPM so that it leaks less.",
    "quality": "How good the target's samples are, beside what it leaks.",
    "trainer": "Devices, precision and batch sizes.",
    "logger": "Where metrics go besides the run's directory.",
    "paths": "Where a run writes, and where it looks for data.",
    "scale": "The sizes that the presets in `experiment` sweep over.",
    "experiment": "Presets: several settings under one name.",
    "hydra/launcher": "Where the jobs of a sweep run (`-m`).",
    "hydra/sweeper": "How a sweep chooses its jobs.",
    "hydra/job_logging": "Where the log of a run goes.",
    "hydra/hydra_logging": "Where Hydra's own messages go.",
}
"""Groups of conf/ in the order of the page, and what each is for."""


@dataclass(frozen=True)
class Setting:
    """One key of a YAML file."""

    name: str
    """With dots, below the file's group."""
    value: str
    """Its default as the file has it; empty for a key that only holds others."""
    comment: str


@dataclass(frozen=True)
class ConfigFile:
    """One file below conf/."""

    path: Path
    about: str
    """The comment that it begins with, as one paragraph."""
    facts: dict[str, str] = field(default_factory=dict)
    """Lines such as ``Access: noise predictions`` of that comment."""
    bases: tuple[str, ...] = ()
    """Choices of the same group that it builds on, as Hydra writes them: `loss`, or `loss@parts.loss`."""
    chooses: tuple[str, ...] = ()
    """Choices of other groups that it makes, such as ``target=ddpm_small``."""
    target: str | None = None
    """Dotted name of the class, or of the function that an attack is."""
    settings: tuple[Setting, ...] = ()

    @property
    def name(self) -> str:
        """Of the choice."""
        return self.path.stem


FACTS = ("Access", "Queries an image")


def read_config_file(path: Path) -> ConfigFile:
    """Read a file's settings with their comments."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = [line.lstrip("# ") for line in _leading_comments(lines)]
    facts = {name: line.split(": ", 1)[1] for line in head for name in FACTS if line.startswith(f"{name}: ")}
    about = " ".join(line for line in head if line.split(": ")[0] not in facts and not line.startswith("@package"))
    node = yaml.compose("\n".join(lines), Loader=yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode):
        return ConfigFile(path, about, facts)
    top = {key.value: value for key, value in node.value}
    named = top.get("function", top.get("_target_"))  # an attack that is a function is described by that
    target = named.value if named else None
    defaults = yaml.safe_load("\n".join(lines)).get("defaults", [])
    bases = tuple(each for each in defaults if isinstance(each, str) and each != "_self_" and not each.startswith("/"))
    chosen = (
        [item for each in defaults if isinstance(each, dict) for item in each.items()] if path.parent != CONF else []
    )
    chooses = tuple(
        f"{group.removeprefix('override ').lstrip('/').partition('@')[0]}={choice}"
        for group, choice in chosen
        if "/" in group
    )
    return ConfigFile(path, about, facts, bases, chooses, target, tuple(_settings(node, lines, "")))


def _leading_comments(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("#"):
            return
        yield line


def _settings(node: yaml.MappingNode, lines: list[str], prefix: str) -> Iterator[Setting]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if key.value.startswith("_") or name == "defaults":
            continue
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            comment = _comment(lines, key.start_mark.line, key.end_mark.column, key.start_mark.column)
            if comment:
                yield Setting(name, "", comment)
            yield from _settings(value, lines, f"{name}.")
        elif value.start_mark.line != value.end_mark.line:  # the help's text
            continue
        else:
            line, end = value.end_mark.line, value.end_mark.column
            text = lines[value.start_mark.line][value.start_mark.column : end].rstrip()
            yield Setting(name, text, _comment(lines, line, end, key.start_mark.column))


def _comment(lines: list[str], row: int, column: int, indentation: int) -> str:
    """What is said of a key: in the lines above it, behind its value, and in deeper lines below it."""
    above: list[str] = []
    for line in reversed(lines[:row]):
        stripped = line.lstrip()
        if not stripped.startswith("#") or len(line) - len(stripped) != indentation:
            break
        above.insert(0, stripped.lstrip("# "))
    if len(above) == row:  # the file's own comment
        above = []
    found = re.search(r"(?:^|\s)#\s*(.*)$", lines[row][column:])
    below = [found[1]] if found else []
    for line in lines[row + 1 :]:
        stripped = line.lstrip()
        if not stripped.startswith("#") or len(line) - len(stripped) <= indentation:
            break
        below.append(stripped.lstrip("# "))
    return " ".join([*above, *below])


def configuration_page() -> str:
    """Every group, every choice, every setting."""
    text = [
        "# Configuration",
        "Generated from the files in `conf/`. A setting is changed on the command line, such as "
        "`attack.t_sec=50 target.max_steps=800`; `python -m secmi_exp +attack=nn --cfg job` shows the whole "
        "configuration of a command without running it. `${…}` takes another setting's value, and `???` must be given.",
        "## General",
        "The settings of `conf/config.yaml` itself.",
        _table([each for each in read_config_file(CONF / "config.yaml").settings if not each.name.startswith("hydra")]),
    ]
    for group, purpose in GROUPS.items():
        text += [f"## {group}", purpose]
        for path in sorted((CONF / group).glob("*.yaml")):
            text += _choice(read_config_file(path), group)
    return "\n\n".join(text) + "\n"


def _choice(file: ConfigFile, group: str) -> Iterator[str]:
    added = "+" if group == "attack" else ""
    yield f"### {added}{group}={file.name} {{ #{group.replace('/', '-')}-{file.name} }}"
    yield file.about
    if file.bases:
        yield f"Has the settings of {', '.join(_base(base, group) for base in file.bases)}, and these:"
    if file.chooses:
        yield f"Also chooses {', '.join(f'`{each}`' for each in file.chooses)}."
    if file.target:
        yield f"Class: `{file.target}`"
    prefix = "" if group == "experiment" else f"{group.replace('/', '.')}."
    settings = [Setting(f"{prefix}{each.name}", each.value, each.comment) for each in file.settings]
    if settings:
        yield _table(settings)


def _base(base: str, group: str) -> str:
    choice, _, place = base.partition("@")
    return f"`{group}={choice}`" + (f" (as `{group}.{place}`)" if place else "")


def _table(settings: list[Setting]) -> str:
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for each in settings:
        value = f"`{each.value}`" if each.value else ""
        rows.append(f"| `{each.name}` | {_cell(value)} | {_cell(each.comment)} |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


@dataclass(frozen=True)
class AttackFacts:
    """What the page says of an attack."""

    file: ConfigFile
    """Its own."""
    measures: ConfigFile
    """That names the class that queries the target: its own, or one that it builds on."""
    scorer: str | None
    """Dotted name of the class of the scorer that its results lead with."""

    @property
    def classes(self) -> list[str]:
        """The classes that it consists of, the one that queries the target first."""
        return [each for each in (self.measures.target, self.scorer) if each]


def read_attacks() -> list[AttackFacts]:
    """All files in conf/attack."""
    files = {path.stem: read_config_file(path) for path in sorted((CONF / "attack").glob("*.yaml"))}
    found = []
    for name, file in files.items():
        measures = file
        while measures.target is None:
            measures = files[measures.bases[0]]
        content = yaml.safe_load(file.path.read_text(encoding="utf-8"))
        scorer = content.get("scorers", {}).get(name, {}).get("_target_")
        found.append(AttackFacts(file, measures, scorer))
    return found


def attacks_page() -> str:
    """A table of all attacks, and a section on each."""
    text = [
        "# Attacks",
        "Generated from the files in `conf/attack` and the docstrings of the classes that they name.\n\n"
        "- **Access** is what the attacker must be able to do: choose a state and a timestep and read the predicted "
        "noise (*noise predictions*), look at images that the model generates (*generated samples*), or compute "
        "gradients (*weights*).\n"
        "- **Queries an image** counts evaluations of the network, in the attack's own settings.\n\n"
        "A higher score always means: more likely a member. All attacks are judged on the same images, and nothing was "
        "fitted on these.",
        "\n".join(
            ["| `+attack=` | what it does | access | queries an image |", "|---|---|---|---|"]
            + [
                f"| [`{each.file.name}`](#{each.file.name}) | {_cell(_first_sentence(each.file.about))} "
                f"| {each.file.facts['Access']} | {each.file.facts['Queries an image']} |"
                for each in read_attacks()
            ]
        ),
        "[experiments/README.md](../../experiments/README.md#all-attacks-figure-1-table-1) compares them on one "
        "target, and `python -m secmi_exp experiment=attacks` runs that comparison.",
    ]
    for each in read_attacks():
        text += _attack(each)
    return "\n\n".join(text) + "\n"


def _first_sentence(text: str) -> str:
    return re.split(r"(?<!et al)\.(?: (?=[A-Z])|$)", text)[0]


def _attack(attack: AttackFacts) -> Iterator[str]:
    file = attack.file
    yield f"## {file.name}"
    yield file.about
    yield f"- Access: {file.facts['Access']}\n- Queries an image: {file.facts['Queries an image']}"
    for name in attack.classes:
        module, documented = docstrings(name)
        yield f"**`{name}`**: {documented}"
        if "Source" in module:
            yield module[module.index("Source") :]
    yield f"[Settings of `+attack={file.name}`](configuration.md#attack-{file.name})"


def docstrings(name: str) -> tuple[str, str]:
    """The docstrings of a class's module and of the class, each as it stands in the source.

    Args:
        name: of the class or function, with dots.
    """
    module, _, cls = name.rpartition(".")
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == cls)
    return ast.get_docstring(tree) or "", ast.get_docstring(found) or ""


GENERATED = {"reference/configuration.md": configuration_page, "reference/attacks.md": attacks_page}
"""Page of the site → what makes it."""
