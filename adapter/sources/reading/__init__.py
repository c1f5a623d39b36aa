"""What the kinds of sources share: reading values, times, ids and broken bodies."""
