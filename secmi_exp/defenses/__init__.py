"""What a target's training can do against leaking its members, one defense a file; ``conf/defense`` names them."""
