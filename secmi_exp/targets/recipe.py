"""How configurations write down the arguments of networks and optimizers."""

Settings = dict[str, bool | int | float | str | list[int] | list[str] | list[float] | None]
