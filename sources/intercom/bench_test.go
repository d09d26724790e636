package intercom_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

// counter is a sink that counts and keeps nothing.
type counter struct{ objects, rejects, bytes atomic.Int64 }

func (*counter) Name() string { return "counter" }

func (s *counter) Commit(_ context.Context, b pipeline.Batch[record.Object]) error {
	s.objects.Add(int64(len(b.Items)))
	s.rejects.Add(int64(len(b.Rejects)))
	for _, o := range b.Items {
		s.bytes.Add(int64(len(o.Body)))
	}
	return nil
}

// crawl walks all conversations whole, through the engine, for at most the given time.
func crawl(tb testing.TB, c *intercom.Client, workers, concurrency int, length time.Duration) *counter {
	tb.Helper()
	p := pipeline.New(pipeline.Options{})
	flow := pipeline.From(p, intercom.NewConversations(c, intercom.StreamOptions{}), nil)
	sink := &counter{}
	pipeline.Into(pipeline.Via(flow, intercom.NewDetails(c, intercom.DetailOptions{Concurrency: concurrency}), workers), sink)
	ctx, cancel := context.WithTimeout(tb.Context(), length)
	defer cancel()
	if err := p.Run(ctx, ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, pipeline.ErrStopped) {
		tb.Fatal(err)
	}
	return sink
}

// cpu is the processor time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkBudget crawls a workspace with a rate limit and 20 ms of latency for 40 s. It reports the
// share of the advertised budget that the whole windows used, by the simulator's own count; the
// 429s; and what part of a core it took.
func BenchmarkBudget(b *testing.B) {
	for _, c := range []struct {
		perMinute int
		others    float64
	}{{10_000, 0}, {1_000, 0}, {10_000, 0.3}} {
		name := fmt.Sprintf("%d_a_minute", c.perMinute)
		if c.others > 0 {
			name += fmt.Sprintf("_others_take_%.0f%%", 100*c.others)
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				s := startProcess(b, intercomtest.Options{
					Conversations: 100_000, RateLimit: c.perMinute, Latency: 20 * time.Millisecond, OtherAppShare: c.others,
				})
				client, err := intercom.New("us", intercomtest.TestToken, intercom.Options{BaseURL: s.url})
				if err != nil {
					b.Fatal(err)
				}
				begun, before := time.Now(), cpu()
				crawl(b, client, 4, 32, 40*time.Second)
				length, used := time.Since(begun), cpu()-before
				st := s.stats(b)
				share, least, windows := 0.0, 1.0, st.Windows
				if len(windows) < 3 {
					b.Fatalf("%d windows", len(windows))
				}
				windows = windows[1 : len(windows)-1]
				for _, w := range windows {
					one := float64(w.Used)/float64(st.WindowLimit) + c.others
					share += one / float64(len(windows))
					least = min(least, one)
				}
				b.ReportMetric(share, "budget-share")
				b.ReportMetric(least, "least-window-share")
				b.ReportMetric(float64(st.TooMany), "429s")
				b.ReportMetric(float64(st.Endpoints["GET /conversations/{id}"])/length.Seconds(), "conversations/s")
				b.ReportMetric(used.Seconds()/length.Seconds(), "cores")
				client.Close()
			}
		})
	}
}

// BenchmarkNoLimit crawls 20,000 conversations without limit and latency.
func BenchmarkNoLimit(b *testing.B) {
	const conversations = 20_000
	for b.Loop() {
		s := startProcess(b, intercomtest.Options{Conversations: conversations})
		client, err := intercom.New("us", intercomtest.TestToken, intercom.Options{BaseURL: s.url})
		if err != nil {
			b.Fatal(err)
		}
		begun, before := time.Now(), cpu()
		sink := crawl(b, client, 2, 32, 5*time.Minute)
		length, used := time.Since(begun), cpu()-before
		if n := sink.objects.Load() + sink.rejects.Load(); n != conversations {
			b.Fatalf("%d conversations", n)
		}
		st := s.stats(b)
		b.ReportMetric(conversations/length.Seconds(), "conversations/s")
		b.ReportMetric(float64(st.Requests)/conversations, "requests/conversation")
		b.ReportMetric(float64(used.Microseconds())/conversations, "cpu-µs/conversation")
		b.ReportMetric(float64(sink.bytes.Load())/conversations, "bytes/conversation")
		b.ReportMetric(used.Seconds()/length.Seconds(), "cores")
		client.Close()
	}
}
