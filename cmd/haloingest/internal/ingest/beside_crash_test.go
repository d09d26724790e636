package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/sinks/postgres"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

// asRunner makes the test binary a process that backfills, and drains the inbox beside it: the database's URL, the folder of the master key and
// Intercom's address.
const asRunner = "HALOINGEST_TEST_AS_RUNNER"

func backfiller(spec []string) error {
	ctx := context.Background()
	ingest.CommitRows(15)
	db, err := postgres.Open(ctx, spec[0], postgres.Options{})
	if err != nil {
		return err
	}
	store := connection.NewStore(db.Pool(), secret.MasterKey{DataDir: spec[1]})
	conn, err := store.Get(ctx, org)
	if err != nil {
		return err
	}
	token, err := store.Token(ctx, org)
	if err != nil {
		return err
	}
	client, err := intercom.New("us", token.Reveal(), intercom.Options{BaseURL: spec[2]})
	if err != nil {
		return err
	}
	r := &ingest.Runner{DB: db, Client: client, Connection: conn, Log: slog.New(slog.DiscardHandler), Holder: "a process that is killed", Concurrency: 4, Names: &ingest.Names{}}
	run, err := r.Start(ctx, ingest.Request{Kind: ingest.KindBackfill})
	if err != nil {
		return err
	}
	fmt.Println("started")
	done := make(chan error, 1)
	go func() {
		_, err := run.Do(ctx, ctx)
		done <- err
	}()
	for {
		if _, err := run.Drain(ctx, ctx, ingest.DrainOptions{Round: 5}); err != nil {
			return err
		}
		select {
		case err := <-done:
			return errors.Join(err, run.Close(ctx))
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// TestWebhooksForRowsThatAKilledBackfillIsWriting changes conversations and tells of it while a process backfills them and drains the inbox beside, and kills
// that process again and again: before, between and after the two that write the same row. In the end every row is in its newest state.
func TestWebhooksForRowsThatAKilledBackfillIsWriting(t *testing.T) {
	t.Parallel()
	kills := 8
	if os.Getenv("HALOINGEST_PROOF") == "long" {
		kills = 400
	}
	r := rand.New(rand.NewPCG(1, 12))
	sim := intercomtest.Start(t, intercomtest.Options{Seed: 12, Conversations: 400, Contacts: 60, Tickets: 20, Oddities: -1, Latency: 4 * time.Millisecond})
	b := &busy{r: r, place: newPlace(t, sim)}
	b.receive(intercomtest.Webhooks{Shuffle: true, Duplicates: 50, Parallel: 4})
	var ids []string
	for c := range sim.Ledger().Conversations() {
		ids = append(ids, c.ID)
	}
	told, killed := 0, 0
	for finished := false; !finished; {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), asRunner+"="+b.url+"\n"+b.master.DataDir+"\n"+sim.URL)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 8)); err != nil { // it has begun
			_ = cmd.Wait()
			t.Fatal("the process did not begin")
		}
		last := killed == kills
		for range 1 + r.IntN(4) {
			for range 3 {
				id := ids[r.IntN(len(ids))]
				if _, err := sim.Reply(id, []string{"user", "admin"}[r.IntN(2)], fmt.Sprintf("Reply %d", told)); err != nil {
					t.Fatal(err)
				}
				told++
			}
			if got := sim.Deliver(t.Context()); got.Statuses[200] != got.Sent {
				t.Fatalf("delivered %+v", got)
			}
			if !last {
				time.Sleep(time.Duration(r.IntN(60)) * time.Millisecond) // anywhere in its work
			}
		}
		if !last {
			_ = cmd.Process.Kill()
		}
		err = cmd.Wait()
		switch {
		case err == nil:
			finished = true
		case last:
			t.Fatal(err)
		default:
			killed++
		}
	}
	for b.drain().More {
	}
	b.agrees()
	for what, query := range map[string]string{
		"rows that are there twice":         `SELECT count(*) - count(DISTINCT source_id) FROM public.transcripts`,
		"messages that are there twice":     `SELECT count(*) - count(DISTINCT (t.id, m->>'id')) FROM public.transcripts t, jsonb_array_elements(t.messages) m`,
		"deliveries that are not done with": `SELECT count(*) FROM ingest.webhook_inbox WHERE done_at IS NULL`,
		"rejects":                           `SELECT count(*) FROM ingest.rejects`,
	} {
		if n := scalar[int](b.place, query); n != 0 {
			t.Errorf("%d %s", n, what)
		}
	}
	attempts := scalar[int](b.place, `SELECT max(attempts) FROM ingest.runs WHERE kind = 'backfill'`)
	t.Logf("%d kills, %d changes told of, %d attempts of one backfill", killed, told, attempts)
}
