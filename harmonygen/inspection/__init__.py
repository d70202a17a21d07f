"""Say how data are read before anything is made of them: what is used, what is not, and why."""
