"""For whoever looks after the series: what they run needs the packages of tests/requirements.txt."""
