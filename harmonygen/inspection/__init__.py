"""Say how data are read before anything is made from them: what is used, what is not, and why."""
