package main

import (
	"runtime"
	"syscall"
	"testing"
	"time"

	"haloingest/sources/intercom/intercomtest"
)

// budget is Intercom's usual one, in conversations a second: 10,000 requests a minute, one for each.
const budget = 10_000.0 / 60

// measured is what one backfill in a process of its own took.
type measured struct {
	wall time.Duration
	cpu  time.Duration // of the program alone
	rss  int64         // bytes, at most
}

// backfill connects and loads the whole workspace in a process of its own.
func (b *bench) backfill() measured {
	b.tb.Helper()
	b.connect()
	start := time.Now()
	cmd := b.process("backfill")
	if err := cmd.Run(); err != nil && cmd.ProcessState.ExitCode() != exitDiffers {
		b.tb.Fatalf("backfill: %v\n%s", err, b.stderr.String())
	}
	m := measured{wall: time.Since(start), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		m.rss = int64(usage.Maxrss)
		if runtime.GOOS == "linux" {
			m.rss <<= 10
		}
	}
	return m
}

// How fast a backfill is where neither a budget nor latency holds it up, and what it costs at the budget.
// The limits are performance.md's P6, P8 and P9.
func BenchmarkBackfillWithoutLimits(b *testing.B) {
	for _, size := range []struct {
		name          string
		conversations int
	}{{"20k", 20_000}, {"200k", 200_000}} {
		b.Run(size.name, func(b *testing.B) {
			if testing.Short() && size.conversations > 20_000 {
				b.Skip("-short")
			}
			for b.Loop() {
				t := newBench(b, intercomtest.Options{Conversations: size.conversations})
				t.sim.ResetStats()
				m := t.backfill()
				n := float64(size.conversations)
				rate := n / m.wall.Seconds()
				b.ReportMetric(rate, "conversations/s")
				b.ReportMetric(rate/budget, "x_of_budget(goal_20)")
				b.ReportMetric(100*budget*m.cpu.Seconds()/n, "%_of_a_core_at_budget(goal_25)")
				b.ReportMetric(float64(m.cpu.Microseconds())/n, "cpu_us/conversation")
				b.ReportMetric(float64(m.rss)/(1<<20), "peak_MB(limit_256)")
				b.ReportMetric(float64(t.sim.Stats().Requests)/n, "requests/conversation")
			}
		})
	}
}
