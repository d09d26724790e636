module haloingest

go 1.26.8
