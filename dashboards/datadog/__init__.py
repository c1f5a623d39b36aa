"""The same boards and alerts for DataDog: translated, so that no name of a metric is written a second time."""
