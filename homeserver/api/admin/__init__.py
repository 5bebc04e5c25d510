"""The endpoints of operators and their tools: the region's own, and those of Synapse's form that tools speak."""
