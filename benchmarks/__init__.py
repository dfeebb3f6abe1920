"""The benchmark: the cost of a turn, against a plain loop without durability measured in the same run."""
