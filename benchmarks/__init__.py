"""What a turn costs, against a plain loop without durability that is measured in the same run."""
