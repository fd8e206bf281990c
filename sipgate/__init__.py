"""sipgate: records telephone calls with one business window, for training only, by the rules of the CNIL."""
