"""What a target is worth to its owner, beside what it leaks; ``conf/quality`` names it."""
