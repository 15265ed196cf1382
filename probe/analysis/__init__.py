"""What finished runs say beyond accuracy: pairs, order, calibration, attention."""
