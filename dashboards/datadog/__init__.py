"""The same boards and alerts for DataDog, translated from ours, so that no metric's name is written twice."""
