// Replaced by the golden suite.
