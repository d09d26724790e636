package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/intercom/intercomtest"
	"haloingest/sources/webhook"
)

const benchHook = "canary-webhook-secret-0009"

// serving is the program as a service, of a connected organisation that has been backfilled, on a server that syncs to disk.
type serving struct {
	*bench
	base string
	db   *pgx.Conn
}

func startServing(b *testing.B, o intercomtest.Options) *serving {
	b.Helper()
	s := &serving{bench: &bench{tb: b, sim: intercomtest.Start(b, o), dbURL: pgtest.Private(b).URL(), dir: b.TempDir()}}
	s.url, s.token = s.sim.URL, filepath.Join(s.dir, "token")
	hook, file := filepath.Join(s.dir, "hook"), filepath.Join(s.dir, "url")
	for name, text := range map[string]string{s.token: s.sim.Token, hook: benchHook} {
		if err := os.WriteFile(name, []byte(text+"\n"), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	s.must([]string{"connect", "--region", "us", "--token-file", s.token, "--webhook-secret-file", hook})
	cmd := s.process("serve", "--listen", "127.0.0.1:0", "--url-file", file, "--intercom-url", s.url)
	cmd.Args = slices.DeleteFunc(cmd.Args, func(a string) bool { return a == "--org" || a == testOrg })
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			b.Errorf("serve ended with %v\n%s", err, s.stderr.String())
		}
	})
	for deadline := time.Now().Add(2 * time.Minute); s.base == "" && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		text, _ := os.ReadFile(file) // not there yet
		s.base = strings.TrimSpace(string(text))
	}
	var err error
	if s.db, err = pgx.Connect(context.Background(), s.dbURL); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.db.Close(context.Background()) })
	return s
}

func (s *serving) hookURL() string {
	return s.base + strings.Replace(webhook.Path, "{orgId}", testOrg, 1)
}

func benchValue[T any](s *serving, query string, args ...any) (v T) {
	s.tb.Helper()
	if err := s.db.QueryRow(context.Background(), query, args...).Scan(&v); err != nil {
		s.tb.Fatalf("%s: %v", query, err)
	}
	return v
}

// send sends notifications of 4 KiB, about conversations that are there, by 64 clients for a while. It returns how long each accepted one took.
func (s *serving) send(span time.Duration, serial *atomic.Int64, ids []string) []time.Duration {
	s.tb.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 30 * time.Second}
	var mu sync.Mutex
	var took []time.Duration
	var senders sync.WaitGroup
	filler := make([]byte, 3900)
	for i := range filler {
		filler[i] = "abcdefghijklmnopqrstuvwxyz0123456789 "[rand.IntN(37)]
	}
	end := time.Now().Add(span)
	for range 64 {
		senders.Go(func() {
			var own []time.Duration
			for time.Now().Before(end) {
				n := serial.Add(1)
				body := fmt.Appendf(nil, `{"type":"notification_event","id":"n-%d","topic":"conversation.user.replied","data":{"item":{"type":"conversation","id":%q,"body":%q}}}`, n, ids[int(n)%len(ids)], filler)
				sent := time.Now()
				if status := post(client, s.hookURL(), body, webhook.Sign([]byte(benchHook), body)); status != http.StatusOK {
					s.tb.Errorf("status %d", status)
					return
				}
				own = append(own, time.Since(sent))
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, own...)
		})
	}
	senders.Wait()
	slices.Sort(took)
	return took
}

// post gives the status, 0 if there is none.
func post(client *http.Client, url string, body []byte, signature string) int {
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0
	}
	req.Header.Set(webhook.SignatureHeader, signature)
	resp, err := client.Do(req)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// annoy sends about so many notifications a second whose signature is wrong, until the function that it returns is called, which gives how many
// were refused.
func (s *serving) annoy(perSecond int) (stop func() int64) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 30 * time.Second}
	ctx, cancel := context.WithCancel(context.Background())
	var refused atomic.Int64
	var senders sync.WaitGroup
	body := bytes.Repeat([]byte("x"), 4096)
	const clients = 32
	for range clients {
		senders.Go(func() {
			next := time.Now()
			for ctx.Err() == nil {
				if post(client, s.hookURL(), body, "sha1="+strings.Repeat("0", 40)) == http.StatusUnauthorized {
					refused.Add(1)
				}
				next = next.Add(time.Second * clients / time.Duration(perSecond))
				wait, done := context.WithDeadline(ctx, next)
				<-wait.Done()
				done()
			}
		})
	}
	return func() int64 { cancel(); senders.Wait(); return refused.Load() }
}

// written counts the rows that were written of each table.
func (s *serving) written() map[string]int64 {
	s.tb.Helper()
	rows, err := s.db.Query(context.Background(), `SELECT relname::text, (n_tup_ins + n_tup_upd + n_tup_del)::bigint FROM pg_stat_user_tables`)
	if err != nil {
		s.tb.Fatal(err)
	}
	counts := map[string]int64{}
	var name string
	var n int64
	if _, err := pgx.ForEachRow(rows, []any{&name, &n}, func() error { counts[name] = n; return nil }); err != nil {
		s.tb.Fatal(err)
	}
	return counts
}

// openHooks counts the webhooks that are to be worked on.
const openHooks = `SELECT count(*) FROM ingest.webhook_inbox WHERE done_at IS NULL`

// own are tables that a service writes to by itself, whoever sends what: signs of life, the queue's leader, what is due.
var own = regexp.MustCompile(`^(processes|schedules|river_.*)$`)

func reportAccepted(b *testing.B, name string, took []time.Duration, elapsed time.Duration) {
	if len(took) == 0 {
		b.Fatal("nothing was accepted")
	}
	ms := func(share float64) float64 { return float64(took[int(share*float64(len(took)-1))]) / 1e6 }
	b.ReportMetric(float64(len(took))/elapsed.Seconds(), name+"accepted/s")
	b.ReportMetric(ms(.5), name+"p50-ms")
	b.ReportMetric(ms(.99), name+"p99-ms")
	b.ReportMetric(ms(1), name+"max-ms")
}

// phase is how long a phase lasts: b.N seconds, so -benchtime 60x is a minute.
func phase(b *testing.B) time.Duration { return time.Duration(b.N) * time.Second }

// BenchmarkServeAccepts sends signed webhooks to the program as fast as it takes them, while it works on them, then the same beside 5,000 a second
// whose signatures are wrong, and these alone: rows that were written meanwhile are counted by the server. Run it with -benchtime 60x for a minute each.
func BenchmarkServeAccepts(b *testing.B) {
	s := startServing(b, intercomtest.Options{Conversations: 300, Contacts: 100, Companies: 10, Tickets: 10, Oddities: -1})
	var ids []string
	for id := range s.sim.Ledger().IDs(intercomtest.Conversations) {
		ids = append(ids, id)
	}
	var serial atomic.Int64
	b.ResetTimer()
	began := time.Now()
	took := s.send(phase(b), &serial, ids)
	reportAccepted(b, "", took, time.Since(began))
	stop := s.annoy(5000)
	began = time.Now()
	again := s.send(phase(b), &serial, ids)
	elapsed := time.Since(began)
	b.ReportMetric(float64(stop())/elapsed.Seconds(), "beside-refused/s")
	reportAccepted(b, "beside-", again, elapsed)
	if n := benchValue[int](s, `SELECT count(*) FROM ingest.webhook_inbox`); n != len(took)+len(again) {
		b.Errorf("%d of %d are there", n, len(took)+len(again))
	}
	// What is left is worked on for a while, and then taken away: what follows is to be measured beside nothing.
	left := benchValue[int](s, openHooks)
	began = time.Now()
	for time.Since(began) < phase(b) && benchValue[int](s, openHooks) > 0 {
		time.Sleep(time.Second)
	}
	b.ReportMetric(float64(left-benchValue[int](s, openHooks))/time.Since(began).Seconds(), "worked-on/s")
	for benchValue[int](s, openHooks) > 0 {
		if _, err := s.db.Exec(context.Background(), `UPDATE ingest.webhook_inbox SET done_at = now() WHERE done_at IS NULL`); err != nil {
			b.Fatal(err)
		}
	}
	const late = 12 * time.Second // an idle session of the server tells what it has counted after ten
	time.Sleep(late)
	before := s.written()
	stop = s.annoy(5000)
	began = time.Now()
	time.Sleep(phase(b))
	alone := stop()
	b.ReportMetric(float64(alone)/time.Since(began).Seconds(), "alone-refused/s")
	time.Sleep(late)
	rows := 0.0
	for table, n := range s.written() {
		if n -= before[table]; n != 0 && own.MatchString(table) {
			b.Logf("%d rows of %s were written meanwhile, as always", n, table)
		} else if n != 0 {
			b.Logf("%d rows of %s were written", n, table)
			rows += float64(n)
		}
	}
	b.ReportMetric(rows, "alone-rows-written")
}

// BenchmarkServeEventToRow changes the workspace 100 times a second, which tells of it, and gives how long it took until what a webhook told of
// was committed: from when it was received, by the database's clock, and beside it how long the receiving took at most.
func BenchmarkServeEventToRow(b *testing.B) {
	s := startServing(b, intercomtest.Options{Conversations: 3000, Contacts: 500, Companies: 20, Tickets: 50, Oddities: -1, Latency: 100 * time.Millisecond})
	s.sim.SendWebhooks(intercomtest.Webhooks{URL: s.hookURL(), Secret: benchHook, Live: true, Parallel: 16})
	kinds := []intercomtest.Kind{intercomtest.Conversations, intercomtest.Conversations, intercomtest.Conversations, intercomtest.Contacts}
	b.ResetTimer()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	began, n := time.Now(), 0
	for end := began.Add(phase(b)); time.Now().Before(end); n++ {
		<-tick.C
		s.sim.TouchRandom(kinds[n%len(kinds)], 1)
	}
	b.ReportMetric(float64(n)/time.Since(began).Seconds(), "changes/s")
	d := s.sim.Deliver(context.Background())
	if d.Statuses[http.StatusOK] != d.Changes {
		b.Errorf("%+v", d)
	}
	for deadline := time.Now().Add(5 * time.Minute); benchValue[int](s, openHooks) > 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatal("they are not worked on")
		}
	}
	for _, share := range []float64{.5, .95, 1} {
		b.ReportMetric(benchValue[float64](s, `SELECT percentile_disc($1) WITHIN GROUP (ORDER BY extract(epoch FROM done_at - received_at))::float8 FROM ingest.webhook_inbox`, share), fmt.Sprintf("p%.0f-s", 100*share))
	}
}
