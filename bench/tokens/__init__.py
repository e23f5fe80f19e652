"""How the token estimator is fitted and judged: kinds of text, exact counters, the fit, and the counts it recorded."""
