"""One campaign against the whole program: what breaks it? Run by ``make torture``; a file for each kind of attack."""
