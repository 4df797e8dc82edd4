"""Virtual machines in which the installed package does its whole job and a real kernel is the judge."""
