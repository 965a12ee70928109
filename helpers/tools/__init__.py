"""For whoever looks after the series: what they run needs the packages of tests/requirements.txt."""

MISSING = "The package {} is missing. Install what the tools need: pip install -r tests/requirements.txt"
