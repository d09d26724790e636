package ingest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/sinks/postgres"
	"haloingest/sources/intercom/intercomtest"
)

// change makes n random changes to the workspace, of those that show in no other object. A contact's new name, for one, shows in all of its
// conversations when they are read again, and none of those has changed.
func change(tb testing.TB, w *intercomtest.Server, r *rand.Rand, n int) {
	tb.Helper()
	must := func(err error) {
		if err != nil {
			tb.Helper()
			tb.Fatal(err)
		}
	}
	one := func(k intercomtest.Kind) string {
		ids := w.TouchRandom(k, 1) // a change like any other, and it says which objects are there
		if len(ids) == 0 {
			tb.Fatalf("no %s are left", k)
		}
		return ids[0]
	}
	for i := range n {
		switch r.IntN(10) {
		case 0:
			id, err := w.CreateContact(map[string]any{"name": fmt.Sprintf("Made %d", i), "email": fmt.Sprintf("made%d@example.com", i), "role": "user"})
			must(err)
			_, err = w.CreateConversation(id, "How do I reset my password?")
			must(err)
		case 1:
			must(w.UpdateContact(one(intercomtest.Contacts), map[string]any{"custom_attributes.favourite": fmt.Sprintf("Number %d", i)}))
		case 2:
			must(w.UpdateCompany(one(intercomtest.Companies), map[string]any{"website": fmt.Sprintf("https://number%d.example", i)}))
		case 3:
			_, err := w.Reply(one(intercomtest.Conversations), []string{"user", "admin", "bot"}[r.IntN(3)], fmt.Sprintf("Reply %d", i))
			must(err)
		case 4:
			must(w.Note(one(intercomtest.Conversations), "Only for us."))
		case 5:
			must(w.Close(one(intercomtest.Conversations), "Solved."))
		case 6: // a later redaction need not move updated_at; only a webhook or a full walk finds it then
			must(w.Redact(one(intercomtest.Conversations), ""))
		case 7:
			must(w.SetTicketState(one(intercomtest.Tickets), "resolved"))
		case 8:
			must(w.Set(intercomtest.Tickets, one(intercomtest.Tickets), map[string]json.RawMessage{"title": json.RawMessage(`"Another title"`)}))
		case 9:
			w.DeleteRandom(intercomtest.Conversations, 1)
		}
	}
}

func TestWebhooksLeadToTheStateOfAPlainBackfill(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]intercomtest.Webhooks{
		"in order":                 {},
		"shuffled and doubled":     {Shuffle: true, Duplicates: 50, Parallel: 8},
		"while they come, delayed": {Live: true, Delay: 300 * time.Millisecond, Duplicates: 30, OldNames: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compare(t, intercomtest.Options{Seed: 7, Conversations: 40, SilentRedaction: o.Shuffle}, o)
		})
	}
}

// compare changes a workspace in three steps. One place learns of them by webhooks alone, the other by reading everything anew. Both must have the same rows in the end.
func compare(t *testing.T, workspace intercomtest.Options, o intercomtest.Webhooks) {
	// Each change has a time of its own: many in one second would push an object into the future.
	began, calls := time.Now().Add(-time.Hour), new(atomic.Int64)
	workspace.Now = func() time.Time { return began.Add(time.Duration(calls.Add(1)) * 100 * time.Millisecond) }
	sim := intercomtest.Start(t, workspace)
	a, b := newPlace(t, sim), newPlace(t, sim)
	a.backfill(false)
	b.backfill(false)
	h, _ := a.receive(o)
	r := rand.New(rand.NewPCG(workspace.Seed, 1))
	for range 3 {
		change(t, sim, r, 20)
		if o.Live {
			a.drain() // in the middle of it
		}
		got := sim.Deliver(t.Context())
		if got.Changes == 0 || len(got.Statuses) != 1 || got.Statuses[200] != got.Sent {
			t.Fatalf("delivered %+v, outcomes %v", got, h.Outcomes())
		}
		a.drain()
	}
	if n := scalar[int](a, `SELECT count(*) FROM ingest.webhook_inbox WHERE done_at IS NULL OR length(body) > 0 OR attempts > 0`); n != 0 {
		t.Errorf("%d deliveries are not done with", n)
	}
	b.backfill(true)
	a.sameAs(b)
	// All of them again, in another order, change nothing.
	if _, err := a.db.Pool().Exec(t.Context(), `UPDATE ingest.webhook_inbox SET done_at = NULL`); err != nil {
		t.Fatal(err)
	}
	again := a.drain()
	if again.Done == 0 || again.Later+again.Parked != 0 {
		t.Errorf("replayed: %+v", again)
	}
	a.sameAs(b)
	for _, table := range []string{"end_users", "companies", "transcripts", "tickets", "knowledge"} {
		if n := scalar[int](a, `SELECT count(*) FROM public.`+table+` t WHERE run_id = $1 AND to_jsonb(t)->>'deleted_at' IS NULL`, again.Run); n != 0 {
			t.Errorf("%d rows of %s were written again by deliveries that were replayed", n, table)
		}
	}
}

func TestMergesDeletionsAndMovesArriveByWebhook(t *testing.T) {
	t.Parallel()
	began := time.Now().Add(-time.Hour) // several changes in one second are dated ahead, and must not be in the future
	sim := intercomtest.Start(t, intercomtest.Options{Seed: 3, Conversations: 10, Oddities: -1, Now: func() time.Time { return began }})
	p := newPlace(t, sim)
	p.backfill(false)
	p.receive(intercomtest.Webhooks{Shuffle: true, Duplicates: 100, OldNames: true})
	ids := map[string]string{}
	for _, name := range []string{"merged", "survivor", "deleted", "moved"} {
		id, err := sim.CreateContact(map[string]any{"name": name, "email": name + "@example.com", "role": "user"})
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = id
	}
	company, err := sim.CreateCompany(map[string]any{"name": "Acme", "company_id": "acme"})
	if err != nil {
		t.Fatal(err)
	}
	talk, err := sim.CreateConversation(ids["merged"], "My number is 5550199.")
	if err != nil {
		t.Fatal(err)
	}
	sim.Deliver(t.Context())
	p.drain()
	row := func(id string) string {
		return scalar[string](p, `SELECT row_id::text FROM ingest.id_map WHERE kind = 'contact' AND source_id = $1`, id)
	}
	if row(ids["merged"]) == row(ids["survivor"]) || scalar[int](p, `SELECT count(*) FROM public.knowledge WHERE content LIKE '%5550199%'`) == 0 {
		t.Fatal("the beginning is not as it should be")
	}
	for _, err := range []error{
		sim.MergeContacts(ids["merged"], ids["survivor"]), sim.Delete(intercomtest.Contacts, ids["deleted"]), sim.Redact(talk, ""),
		sim.UpdateContact(ids["moved"], map[string]any{"companies": []string{company}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	sim.Deliver(t.Context())
	if report := p.drain(); report.Later+report.Parked != 0 || report.Done == 0 {
		t.Errorf("drained %+v", report)
	}
	if row(ids["merged"]) != row(ids["survivor"]) {
		t.Error("the merged contact has a row of its own")
	}
	if n := scalar[int](p, `SELECT count(*) FROM public.end_users WHERE source_id = $1 AND deleted_at IS NOT NULL`, ids["deleted"]); n != 1 {
		t.Error("the deleted contact is not marked")
	}
	if n := scalar[int](p, `SELECT count(*) FROM public.end_users u JOIN public.companies c ON c.org_id = u.org_id AND c.id = u.company_id
		WHERE u.source_id = $1 AND c.source_id = $2`, ids["moved"], company); n != 1 {
		t.Error("the contact is not in its company")
	}
	for _, from := range []string{"public.knowledge", "public.transcripts", "ingest.webhook_inbox"} {
		if n := scalar[int](p, `SELECT count(*) FROM `+from+` t WHERE to_jsonb(t)::text LIKE '%5550199%'`); n != 0 {
			t.Errorf("%s still has what was redacted", from)
		}
	}
}

// Intercom's clock is ahead of the host's, and an object that changes several times in a second is dated further ahead. What a read found
// gone is gone all the same, and no state that is dated later keeps its row or its knowledge.
func TestWhatIsDeletedIsMarkedAlthoughIntercomDatesItAhead(t *testing.T) {
	t.Parallel()
	ahead := time.Now().Add(time.Minute)
	sim := intercomtest.Start(t, intercomtest.Options{Seed: 3, Conversations: 10, Tickets: 20, Oddities: -1, Now: func() time.Time { return ahead }})
	p := newPlace(t, sim)
	p.backfill(false)
	p.receive(intercomtest.Webhooks{})
	person, err := sim.CreateContact(map[string]any{"name": "Ada", "email": "ada@example.com", "role": "user"})
	if err != nil {
		t.Fatal(err)
	}
	talk, err := sim.CreateConversation(person, "My number is 5550199.")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		if _, err := sim.Reply(talk, "user", fmt.Sprintf("Once more, 5550199, for the %d. time.", i)); err != nil {
			t.Fatal(err)
		}
		if err := sim.UpdateContact(person, map[string]any{"name": fmt.Sprintf("Ada %d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	ticket := sim.TouchRandom(intercomtest.Tickets, 1)[0]
	sim.Deliver(t.Context())
	p.drain()
	marked := func(table, id string) bool {
		return scalar[bool](p, `SELECT deleted_at IS NOT NULL FROM public.`+table+` WHERE source_id = $1`, id)
	}
	known := func() int {
		return scalar[int](p, `SELECT count(*) FROM public.knowledge WHERE content LIKE '%5550199%'`)
	}
	if marked("transcripts", talk) || marked("end_users", person) || marked("tickets", ticket) || known() == 0 {
		t.Fatal("the beginning is not as it should be")
	}
	for _, err := range []error{sim.Delete(intercomtest.Conversations, talk), sim.Delete(intercomtest.Contacts, person), sim.Delete(intercomtest.Tickets, ticket)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	sim.Deliver(t.Context())
	if report := p.drain(); report.Later+report.Parked != 0 || report.Done == 0 {
		t.Errorf("drained %+v", report)
	}
	if !marked("transcripts", talk) || !marked("end_users", person) || !marked("tickets", ticket) || known() != 0 {
		t.Errorf("marked: conversation %t, contact %t, ticket %t; %d pieces of knowledge are left",
			marked("transcripts", talk), marked("end_users", person), marked("tickets", ticket), known())
	}
}

func TestWhatCannotBeReadIsKeptForLaterAndThenAside(t *testing.T) {
	t.Parallel()
	sim := intercomtest.Start(t, intercomtest.Options{Seed: 3, Conversations: 10})
	p := newPlace(t, sim)
	p.backfill(false)
	p.receive(intercomtest.Webhooks{})
	ids := sim.TouchRandom(intercomtest.Contacts, 3)
	sim.Deliver(t.Context())
	if err := sim.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultTokenRevoked}); err != nil {
		t.Fatal(err)
	}
	if report, err := p.runner.Drain(t.Context(), t.Context(), ingest.DrainOptions{}); err == nil {
		t.Errorf("drained %+v without a token", report)
	}
	if s, err := p.db.Inbox(t.Context(), org); err != nil || int(s.Open) != len(ids) || s.Failed+s.Parked+s.Done != 0 {
		t.Errorf("inbox %+v, %v: an outage is no fault of a delivery", s, err)
	}
	if err := sim.SetFaults(); err != nil {
		t.Fatal(err)
	}
	// One that tells of a deletion, of an object that is there, is asked for again later.
	if _, err := p.db.Pool().Exec(t.Context(), `UPDATE ingest.webhook_inbox SET gone = true WHERE id = (SELECT min(id) FROM ingest.webhook_inbox)`); err != nil {
		t.Fatal(err)
	}
	if report := p.drain(); int(report.Done) != len(ids)-1 || report.Later != 1 {
		t.Errorf("drained %+v", report)
	}
	if report := p.drain(); report.Deliveries != 0 {
		t.Errorf("tried again at once: %+v", report)
	}
	if _, err := p.db.Pool().Exec(t.Context(), `UPDATE ingest.webhook_inbox SET retry_at = now()`); err != nil {
		t.Fatal(err)
	}
	report, err := p.runner.Drain(t.Context(), t.Context(), ingest.DrainOptions{Attempts: 2})
	if err != nil || report.Parked != 1 {
		t.Errorf("drained %+v, %v", report, err)
	}
	if n, err := p.db.RetryParked(t.Context(), org); err != nil || n != 1 {
		t.Errorf("%d are open again, %v", n, err)
	}
}

// A webhook for rows that a backfill is writing: before it, in the middle of it under its lease, and after it.
func TestWebhooksForRowsThatABackfillIsWriting(t *testing.T) {
	t.Parallel()
	sim := intercomtest.Start(t, intercomtest.Options{Seed: 5, Conversations: 150, Latency: 2 * time.Millisecond})
	a, b := newPlace(t, sim), newPlace(t, sim)
	a.receive(intercomtest.Webhooks{Shuffle: true, Duplicates: 50, Parallel: 4})
	touch := func() {
		for _, id := range sim.TouchRandom(intercomtest.Conversations, 10) {
			if _, err := sim.Reply(id, "user", "One more thing."); err != nil {
				t.Error(err)
			}
		}
		sim.Deliver(t.Context())
	}
	touch()
	a.drain()
	run, err := a.runner.Start(t.Context(), ingest.Request{Kind: ingest.KindBackfill})
	if err != nil {
		t.Fatal(err)
	}
	touch()
	if _, err := a.runner.Drain(t.Context(), t.Context(), ingest.DrainOptions{}); !errors.Is(err, postgres.ErrHeld) {
		t.Errorf("another pass while a run holds the workspace: %v", err)
	}
	done := make(chan error)
	go func() {
		_, err := run.Do(t.Context(), t.Context())
		done <- err
	}()
	passes := 0
	for ended := false; !ended; passes++ {
		touch()
		if _, err := run.Drain(t.Context(), t.Context(), ingest.DrainOptions{}); err != nil {
			t.Error(err)
		}
		select {
		case err := <-done:
			if ended = true; err != nil {
				t.Fatal(err)
			}
		default:
		}
	}
	if err := run.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	touch()
	a.drain()
	t.Logf("%d passes beside the backfill", passes)
	b.backfill(false)
	a.sameAs(b)
}
