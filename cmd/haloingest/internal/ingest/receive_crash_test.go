package ingest_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/sinks/postgres"
	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/intercom/intercomtest"
	"haloingest/sources/webhook"
)

// asReceiver makes the test binary a receiver of webhooks that can be killed: the database's URL and the folder of the master key.
const asReceiver = "HALOINGEST_TEST_AS_RECEIVER"

func TestMain(m *testing.M) {
	if spec := os.Getenv(asReceiver); spec != "" {
		if err := receiver(strings.SplitN(spec, "\n", 2)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if spec := os.Getenv(asRunner); spec != "" {
		if err := backfiller(strings.SplitN(spec, "\n", 3)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func receiver(spec []string) error {
	db, err := postgres.Open(context.Background(), spec[0], postgres.Options{})
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	h := webhook.New(connection.NewKeyring(connection.NewStore(db.Pool(), secret.MasterKey{DataDir: spec[1]}), log), db, webhook.Options{Log: log})
	mux := http.NewServeMux()
	mux.Handle(webhook.Path, h)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String())
	return (&http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}).Serve(l)
}

func TestWhatWasAcceptedIsThereAfterKillsUnderLoad(t *testing.T) {
	t.Parallel()
	kills := 4
	if os.Getenv("HALOINGEST_PROOF") == "long" {
		kills = 100
	}
	p := newPlace(t, intercomtest.Start(t, intercomtest.Options{Conversations: 1}))
	var mu sync.Mutex
	var accepted []string
	var serial atomic.Int64
	for range kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), asReceiver+"="+p.url+"\n"+p.master.DataDir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		base, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		url := hookURL(strings.TrimSpace(base))
		limit := int64(100 + rand.IntN(300))
		var answered atomic.Int64
		var senders sync.WaitGroup
		for range 16 {
			senders.Go(func() {
				for {
					id := fmt.Sprintf("n-%d", serial.Add(1))
					body := event(id, "contact.created", `{"type":"contact","id":"abc"}`)
					req, _ := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
					req.Header.Set(webhook.SignatureHeader, sign(body))
					resp, err := http.DefaultClient.Do(req)
					if err != nil {
						return // it was killed
					}
					_ = resp.Body.Close()
					if resp.StatusCode != 200 {
						t.Errorf("status %d", resp.StatusCode)
						return
					}
					mu.Lock()
					accepted = append(accepted, id)
					mu.Unlock()
					if answered.Add(1) == limit {
						_ = cmd.Process.Kill()
					}
				}
			})
		}
		senders.Wait()
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	}
	if lost := scalar[int](p, `SELECT count(*) FROM unnest($1::text[]) k(id) WHERE NOT EXISTS (
		SELECT FROM ingest.webhook_inbox i WHERE i.org_id = $2 AND i.notification_id = k.id)`, accepted, org); lost != 0 || len(accepted) < 100*kills {
		t.Errorf("%d of %d accepted deliveries were lost", lost, len(accepted))
	}
}

// BenchmarkAcceptedDeliveries sends 4 KiB deliveries of 64 clients over HTTP, signed, and beside it the same rows by bare SQL: groups of 64, two
// at a time, without HTTP, HMAC or JSON. The server syncs to disk before a commit is answered.
func BenchmarkAcceptedDeliveries(b *testing.B) {
	p := placeAt(b, intercomtest.Start(b, intercomtest.Options{Conversations: 1}), pgtest.Private(b).URL())
	_, srv := p.receive(intercomtest.Webhooks{})
	filler := make([]byte, 3000)
	r := rand.New(rand.NewPCG(1, 1))
	body := func(id string) []byte {
		text := make([]byte, len(filler))
		for i := range text {
			text[i] = "abcdefghijklmnopqrstuvwxyz0123456789 "[r.IntN(37)]
		}
		return event(id, "conversation.user.replied", fmt.Sprintf(`{"type":"conversation","id":"123","body":%q}`, string(append(text, text[:900]...))))
	}
	bodies := make([][]byte, b.N)
	for i := range bodies {
		bodies[i] = body(fmt.Sprintf("n-%d", i))
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	url := hookURL(srv.URL)
	took := make([]time.Duration, b.N)
	var next atomic.Int64
	b.ResetTimer()
	began := time.Now()
	var senders sync.WaitGroup
	for range 64 {
		senders.Go(func() {
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				sent := time.Now()
				if status := post(b, client, url, bytes.NewReader(bodies[i]), sign(bodies[i])); status != 200 {
					b.Errorf("status %d", status)
				}
				took[i] = time.Since(sent)
			}
		})
	}
	senders.Wait()
	elapsed := time.Since(began)
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/elapsed.Seconds(), "accepted/s")
	b.ReportMetric(float64(took[len(took)*99/100])/1e6, "p99-ms")
	b.ReportMetric(float64(took[len(took)-1])/1e6, "max-ms")
	if n := scalar[int](p, `SELECT count(*) FROM ingest.webhook_inbox`); n != b.N {
		b.Errorf("%d of %d are there", n, b.N)
	}
	if _, err := p.db.Pool().Exec(b.Context(), `TRUNCATE ingest.webhook_inbox`); err != nil {
		b.Fatal(err)
	}
	began = time.Now()
	next.Store(0)
	for range 2 {
		senders.Go(func() {
			for i := next.Add(64) - 64; i < int64(b.N); i = next.Add(64) - 64 {
				group := bodies[i:min(int(i)+64, b.N)]
				ids := make([]string, len(group))
				for j := range ids {
					ids[j] = fmt.Sprintf("n-%d", int(i)+j)
				}
				if _, err := p.db.Pool().Exec(b.Context(), `INSERT INTO ingest.webhook_inbox (org_id, notification_id, topic, body)
					SELECT $1, k.id, 't', k.body FROM unnest($2::text[], $3::bytea[]) k(id, body)`, org, ids, group); err != nil {
					b.Error(err)
				}
			}
		})
	}
	senders.Wait()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "bare-sql/s")
}
