package ingest

// CommitRows has every commit of a run hold so many rows at most, for a process that is to be killed between many of them.
func CommitRows(n int) { commitLimits.Rows = n }
