"""What the kinds of sources share: paths, values, times, ids, broken bodies and static headers."""
