"""From the command line to the objects that a run is made of, with mistakes explained."""
