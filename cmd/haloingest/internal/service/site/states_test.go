package site

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/cmd/haloingest/internal/service/work"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff/report/browsertest"
	"haloingest/sinks/postgres"
	"haloingest/sources/intercom/intercomtest"
)

// state is one page as somebody sees it.
type state struct {
	name, path string
	role       access.Role // NoRole: the overseer
}

// plant makes an organisation of each state and returns the pages.
func (l *lab) plant() []state {
	var states []state
	n := 0
	page := func(name string, org record.UUID, below string, role access.Role) {
		states = append(states, state{name, orgURL(org.String()) + below, role})
	}
	next := func(workspace string) record.UUID {
		n++
		org := orgN(n)
		if workspace != "" {
			l.put(org, workspace)
		}
		return org
	}

	fresh := next("")
	page("connect", fresh, "/connect", access.Admin)
	for _, q := range []string{"bad-token&region=eu", "missing-scope&region=us&of=company,ticket", "wrong-region&region=us&is=eu", "unreachable&region=au"} {
		name, _, _ := strings.Cut(q, "&")
		page("connect-"+name, fresh, "/connect?said="+q, access.Admin)
	}
	page("not-connected", fresh, "", access.Viewer)
	page("not-connected-settings", fresh, "/settings", access.Viewer)

	waiting := next("Northwind Traders")
	l.must(l.queue.Backfill(context.Background(), nil, waiting, work.BackfillOptions{}))
	page("waiting", waiting, "?said=connected", access.Admin)

	stuck := next("Stuck & Sons")
	l.must(l.queue.Backfill(context.Background(), nil, stuck, work.BackfillOptions{}))
	l.exec(`UPDATE ingest.river_job SET created_at = now() - interval '9 min', scheduled_at = now() - interval '9 min' WHERE args->>'org' = $1`, stuck.String())
	page("stuck", stuck, "", access.Operator)

	running := next("Acme Support")
	l.run(running)
	page("running", running, "", access.Admin)

	retrying := next("Contoso")
	l.must(l.queue.Backfill(context.Background(), nil, retrying, work.BackfillOptions{}))
	l.exec(`UPDATE ingest.river_job SET state = 'retryable', attempt = 3, scheduled_at = now() + interval '8 min', errors = array[jsonb_build_object('error', 'read conversations: GET /conversations: 503 service_unavailable (5 attempts)', 'at', now(), 'attempt', 3, 'trace', '')] WHERE args->>'org' = $1`, retrying.String())
	page("retrying", retrying, "", access.Operator)

	failed := next("Initech")
	l.ran(failed, "backfill", "failed", 50*time.Minute, 40*time.Minute, 5200, 6100, "read conversations: GET /conversations: 401 unauthorized: the token was revoked")
	page("failed", failed, "", access.Admin)
	page("failed-operator", failed, "", access.Operator)

	interrupted := next("Umbrella")
	l.ran(interrupted, "backfill", "interrupted", 5*time.Hour, time.Hour, 300, 410, "the process that worked on it is gone")
	page("interrupted", interrupted, "", access.Viewer)

	rich := next("Globex Corporation")
	l.rich(rich)
	page("in-step", rich, "", access.Admin)
	page("in-step-viewer", rich, "", access.Viewer)
	page("runs", rich, "/runs", access.Viewer)
	page("run", rich, "/runs/"+scalarUUID(l, `SELECT id FROM ingest.runs WHERE org_id = $1 AND kind = 'backfill'`, rich).String(), access.Viewer)
	page("rejects", rich, "/rejects", access.Operator)
	page("rejects-viewer", rich, "/rejects", access.Viewer)
	page("checklist", rich, "/checklist", access.Viewer)
	page("settings", rich, "/settings", access.Admin)
	page("settings-viewer", rich, "/settings", access.Viewer)
	page("disconnect", rich, "/disconnect", access.Admin)

	off := next("Hooli")
	l.synced(off, 3*time.Hour)
	_, err := l.store.SetIngest(context.Background(), off, false)
	l.must(err)
	page("off", off, "", access.Operator)
	page("off-settings", off, "/settings", access.Operator)

	gone := next("Vandelay Industries")
	l.synced(gone, 30*time.Hour)
	l.rows(gone, 30, 4, 60, 7)
	_, err = l.store.Disconnect(context.Background(), gone)
	l.must(err)
	page("disconnected", gone, "?said=disconnected", access.Admin)
	page("disconnected-settings", gone, "/settings", access.Admin)

	late := next("Soylent")
	l.synced(late, 7*time.Hour)
	page("late", late, "", access.Operator)

	partial := next("Stark Industries")
	l.synced(partial, 70*time.Minute)
	id := l.ran(partial, "sync", "failed", 10*time.Minute, time.Minute, 20, 31, "tickets: left out")
	l.exec(`UPDATE ingest.checkpoints SET skipped = 'the token may not read tickets', complete = false WHERE org_id = $1 AND run_id = $2 AND stream = 'tickets'`, partial, id)
	page("partial", partial, "", access.Admin)

	choose := next("")
	l.sims["us"] = intercomtest.Start(l.tb, intercomtest.Options{Seed: 5, Conversations: 60, AppName: "Acme Support"})
	_, _, err = l.desk.Begin(postgres.WithOrg(context.Background(), choose), choose, member(access.Admin).Name, "us", secret.NewText(l.sims["us"].Token))
	l.must(err)
	page("fields", choose, "/connect/fields", access.Admin)

	return append(states, state{"home", "/", access.NoRole})
}

func scalarUUID(l *lab, query string, args ...any) (id record.UUID) {
	l.tb.Helper()
	l.must(l.db.Pool().QueryRow(context.Background(), query, args...).Scan((*[16]byte)(&id)))
	return id
}

// run has a run of an organisation under way, which this process holds until the test ends.
func (l *lab) run(org record.UUID) {
	l.tb.Helper()
	ctx := context.Background()
	lease, err := l.db.Acquire(ctx, org, "worker-2 (process 4711)")
	l.must(err)
	l.tb.Cleanup(func() { _ = lease.Release(context.Background()) })
	id := l.ran(org, "backfill", "running", 42*time.Minute, 0, 900, 0, "")
	l.exec(`UPDATE ingest.runs SET finished_at = NULL WHERE org_id = $1 AND id = $2`, org, id)
	l.exec(`UPDATE ingest.checkpoints SET complete = stream IN ('contacts', 'companies') WHERE org_id = $1`, org)
	l.exec(`INSERT INTO ingest.progress (org_id, job_id, run_id, kind, process, state, updated_at) VALUES ($1, 1, $2, 'backfill', 'worker-2 (process 4711)', $3, now() + interval '1 h')`, org, id, `{"elapsed_ns": 2520000000000, "left_ns": 5340000000000,
		"streams": [{"stream": "contacts", "state": "complete", "done": 48211, "total": 48211, "per_second": 312, "elapsed_ns": 154000000000},
			{"stream": "companies", "state": "complete", "done": 1840, "total": 1840, "per_second": 96.2, "elapsed_ns": 19000000000},
			{"stream": "conversations", "state": "running", "done": 61544, "total": 214310, "per_second": 28.6, "left_ns": 5340000000000, "elapsed_ns": 2340000000000},
			{"stream": "tickets", "state": "waiting", "done": 0, "total": 0}],
		"api": {"requests": 63120, "throttled": 12, "limit_per_minute": 10000, "budget_share": 0.163}}`)
	l.rows(org, 480, 18, 615, 0)
}

// rows plants rows that come from Intercom.
func (l *lab) rows(org record.UUID, contacts, companies, conversations, tickets int) {
	l.tb.Helper()
	for table, n := range map[string]int{"end_users": contacts, "companies": companies, "transcripts": conversations, "tickets": tickets} {
		l.exec(`INSERT INTO public.`+table+` (org_id, id, source_id, deleted_at) SELECT $1, gen_random_uuid(), 'x' || i, CASE WHEN i % 97 = 0 THEN now() END FROM generate_series(1, $2::int) i`, org, n)
	}
}

// rich is an organisation of which a lot has happened.
func (l *lab) rich(org record.UUID) {
	l.tb.Helper()
	ctx := context.Background()
	l.rows(org, 4821, 184, 21431, 902)
	l.synced(org, 12*time.Minute)
	l.must(l.store.SetWebhookSecret(ctx, org, secret.NewText("canary-secret-0001"), 0))
	l.ran(org, "backfill", "complete", 13*24*time.Hour, 5*time.Hour, 21431, 23977, "")
	for d := range 13 {
		for h := range 4 {
			ago := time.Duration(d)*24*time.Hour + time.Duration(h)*6*time.Hour + 12*time.Minute
			l.ran(org, "sync", "complete", ago, 34*time.Second, 40+(d*37+h*91)%160, 60+(d*53+h*17)%90, "")
		}
		l.ran(org, "webhook", "complete", time.Duration(d)*24*time.Hour+3*time.Minute, time.Second, 3+d%5, 4+d%7, "")
		l.ran(org, "webhook", "complete", time.Duration(d)*24*time.Hour+5*time.Minute, time.Second, 8+d%3, 9, "")
	}
	l.ran(org, "sync", "failed", 26*time.Hour, 3*time.Minute, 12, 44, "read contacts: POST /contacts/search: no answer: connection refused (5 attempts)")
	for i := range 7 {
		field, why := "conversation_parts", "want a list, got a string"
		if i > 4 {
			field, why = "created_at", "the year 11976 is beyond what a timestamp holds"
		}
		l.exec(`INSERT INTO ingest.rejects (org_id, run_id, stream, cause, stage, kind, source_id, field, reason, payload, times) VALUES ($1, $2, 'conversations', $3, 'extract', 'conversation', $4, $5, $6, '{}', $7)`,
			org, record.UUID{9}, []byte{byte(i)}, fmt.Sprintf("21540000000%d", 187+i), field, why, 1+i%3)
	}
	l.exec(`INSERT INTO ingest.webhook_inbox (org_id, notification_id, topic, body, received_at, done_at) VALUES ($1, 'notif_1', 'conversation.user.replied', '{}', now() - interval '3 min', now())`, org)
	l.exec(`INSERT INTO ingest.diff_runs (org_id, id, left_side, right_side, level, verdict, sentence, watermark, started_at, finished_at, report)
		VALUES ($1, gen_random_uuid(), 'intercom', 'postgres', 'full', 'equal', 'SAFE TO DISCONNECT: all 27,338 objects of intercom are in postgres as they should be', now() - interval '3 h', now() - interval '3 h', now() - interval '2 h', '{}')`, org)
}

// views are how pages are looked at.
var views = []struct {
	name string
	view browsertest.View
}{
	{"desktop-light", browsertest.View{}}, {"phone-dark", browsertest.View{Width: 390, Height: 844, Mobile: true, Dark: true}},
	{"desktop-dark", browsertest.View{Dark: true}}, {"phone-light", browsertest.View{Width: 390, Height: 844, Mobile: true}},
}

func TestEveryStateOfThePageIsSoundInABrowser(t *testing.T) {
	t.Parallel()
	b := browsertest.New(t)
	l := newLab(t)
	states := l.plant()
	urls := map[access.Role]string{access.NoRole: l.serve(overseer)}
	for r := access.Viewer; r <= access.Admin; r++ {
		urls[r] = l.serve(member(r))
	}
	looks := views[:2]
	if *shots != "" || os.Getenv("HALOINGEST_PROOF") == "long" {
		looks = views
	}
	for i, s := range states {
		if *only != "" && !slices.ContainsFunc(strings.Split(*only, ","), func(part string) bool { return strings.Contains(s.name, part) }) {
			continue
		}
		for k, v := range looks {
			if len(looks) == 2 && k != i%2 {
				continue
			}
			for _, fault := range l.shoot(b, urls[s.role]+s.path, s.name+"-"+v.name, v.view) {
				t.Errorf("%s, %s: %s", s.name, v.name, fault)
			}
		}
	}
}
