package pipeline

import (
	"sync/atomic"
	"time"
)

// StageStats is what one stage has done so far in this run. The fields are read one after the other
// while the stage goes on, so they may be a batch apart. Busy and the waits are summed over the workers
// and grow when a call or a wait ends: with n workers they grow by up to n seconds a second.
type StageStats struct {
	Name     string
	Role     string // source, stage, tap, rebatch or sink
	Workers  int
	Batches  int64         // taken from the input; of a source: pages
	ItemsIn  int64         // of a source: 0
	ItemsOut int64         // of a sink: items committed
	Rejects  int64         // made here; of a sink: committed
	Busy     time.Duration // in the stage's own code; of a source: between pages
	WaitIn   time.Duration // for a batch
	WaitOut  time.Duration // for room behind it, or for earlier batches to leave first
	InFlight int64         // batches taken and not yet handed on
}

// counters are written by the workers of one stage, a few atomic additions a batch.
type counters struct {
	batches, in, out, rejects, busy, waitIn, waitOut, held atomic.Int64
}

func (n *node) snapshot() StageStats {
	return StageStats{
		Name:     n.name,
		Role:     n.role,
		Workers:  n.workers,
		Batches:  n.batches.Load(),
		ItemsIn:  n.in.Load(),
		ItemsOut: n.out.Load(),
		Rejects:  n.rejects.Load(),
		Busy:     time.Duration(n.busy.Load()),
		WaitIn:   time.Duration(n.waitIn.Load()),
		WaitOut:  time.Duration(n.waitOut.Load()),
		InFlight: n.held.Load(),
	}
}

// since adds the time since start to a counter.
func since(c *atomic.Int64, start time.Time) { c.Add(int64(time.Since(start))) }
