"""Defenses: changes of a target's training that are meant to reduce the leak; ``conf/defense`` names them."""
