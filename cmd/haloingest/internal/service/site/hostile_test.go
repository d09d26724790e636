package site

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/cmd/haloingest/internal/service/work"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff/report/browsertest"
	"haloingest/sources/intercom/intercomtest"
)

// hostile are texts that are made to do harm. None has a NUL: PostgreSQL keeps none.
var hostile = []string{
	`<script>window.harm=1</script>`, `"><img src=x onerror="window.harm=1">`, `' onmouseover='window.harm=1`, `</title><script>window.harm=1</script>`,
	"\u202egnp.exe", strings.Repeat("long", 2_500), strings.Repeat("a b ", 2_500), "👩‍👩‍👧‍👦 العربية", "{{.Org}} ${7*7}", `javascript:window.harm=1`, `<svg onload=window.harm=1>`, "bell\u0007\u200b\u2066",
}

func TestNothingThatComesFromOutsideRunsOrBreaksThePage(t *testing.T) {
	t.Parallel()
	b := browsertest.New(t)
	l := newLab(t)
	ctx := context.Background()
	sim := intercomtest.Start(t, intercomtest.Options{Seed: 3, Conversations: 10, Region: "EU", AppName: hostile[0] + hostile[5]})
	l.sims["eu"] = sim
	var pages []string
	for i, bad := range hostile {
		org := orgN(i + 1)
		set := connection.Settings{Region: "eu", UserIDField: "custom_attributes." + bad, CompanyIDField: "custom_attributes." + bad, ActivityRefresh: time.Hour}
		l.must(l.store.Put(ctx, org, record.Workspace{ID: bad, Name: bad, Region: "eu"}, set, secret.NewText(sim.Token), secret.Text{}))
		l.exec(`UPDATE ingest.connections SET token_hint = $2 WHERE org_id = $1`, org, bad)
		l.synced(org, time.Hour)
		id := l.ran(org, "sync", "failed", time.Minute, time.Second, 7, 9, bad)
		l.ran(org, bad, "failed", 2*time.Minute, time.Second, 7, 9, bad)
		l.exec(`UPDATE ingest.checkpoints SET skipped = $2, stream = left($2, 500) || stream, counts = jsonb_build_object('unmapped/' || $2::text, 4) WHERE org_id = $1 AND run_id = $3`, org, bad, id)
		l.exec(`INSERT INTO ingest.rejects (org_id, run_id, stream, cause, stage, kind, source_id, field, reason, payload) VALUES ($1, $2, 's', 'c', left($3, 200), left($3, 90), left($3, 200), $3, $3, '')`, org, record.UUID{1}, bad)
		l.exec(`INSERT INTO ingest.webhook_inbox (org_id, topic, body, error, parked_at) VALUES ($1, $2, '', $2, now())`, org, bad)
		l.exec(`INSERT INTO ingest.diff_runs (org_id, id, left_side, right_side, level, verdict, sentence, watermark, started_at, finished_at, report) VALUES ($1, gen_random_uuid(), $2, $2, $2, $2, $2, now(), now(), now(), '{}')`, org, bad)
		base := orgURL(org.String())
		at := []string{"", "/runs", "/runs/" + id.String(), "/rejects", "/checklist", "/settings", "/disconnect"}
		switch i % 3 {
		case 0: // a job that has failed, as its worker said it
			l.must(l.queue.Backfill(ctx, nil, org, work.BackfillOptions{}))
			l.exec(`UPDATE ingest.river_job SET state = 'retryable', scheduled_at = now() + interval '5 min', errors = array[jsonb_build_object('error', $2::text, 'at', now(), 'attempt', 1, 'trace', '')] WHERE args->>'org' = $1`, org.String(), bad)
		case 1:
			at = append(at, "/fields")
		case 2:
			lease, err := l.db.Acquire(ctx, org, bad)
			l.must(err)
			t.Cleanup(func() { _ = lease.Release(context.Background()) })
			l.exec(`UPDATE ingest.runs SET state = 'running', finished_at = NULL WHERE org_id = $1 AND id = $2`, org, id)
		}
		for _, below := range at {
			pages = append(pages, base+below)
		}
	}
	pages = append(pages, "/", "/?said="+url.QueryEscape(hostile[1]+hostile[4]))
	who := overseer
	who.Name = hostile[1] + hostile[4] + hostile[5]
	v := l.visit(who)
	at := v.url
	for _, p := range pages {
		page := v.get(p)
		if page.status != 200 {
			t.Errorf("%s: status %d", p, page.status)
		}
		for _, bad := range []string{"\u202e", "\u2066", "\u0007", "\u200b", "<script>window", "<img", `" onmouseover`, "onload=window.harm=1>", `href="javascript`, strings.Repeat("long", 100), strings.Repeat("a b ", 100)} {
			if strings.Contains(page.body, bad) {
				t.Errorf("%s: it has %.40q", p, bad)
			}
		}
	}
	if os.Getenv("HALOINGEST_PROOF") != "long" { // each kind of page with some of the texts, rather than each with each
		var some []string
		for i, p := range pages {
			if i%7 == 0 || i >= len(pages)-2 {
				some = append(some, p)
			}
		}
		pages = some
	}
	for i, p := range pages {
		tab := b.Open(at+p, browsertest.View{Width: 360, Height: 740, Mobile: true, Dark: i%2 == 0})
		for _, fault := range tab.Faults() {
			t.Errorf("%s: %s", p, fault)
		}
		if browsertest.Eval[bool](tab, `"harm" in window || !!document.querySelector("main script, main img, [onmouseover], [onerror], [onload], a[href^='javascript']")`) {
			t.Errorf("%s: something got in", p)
		}
		if long := browsertest.Eval[int](tab, `Math.max(...[...document.querySelectorAll("main *")].filter(e => !e.children.length).map(e => e.textContent.length))`); long > 1000 {
			t.Errorf("%s: a text of %d characters", p, long)
		}
		if *shots != "" {
			l.must(os.WriteFile(filepath.Join(*shots, fmt.Sprintf("hostile-%02d.png", i)), tab.Screenshot(), 0o644))
		}
		tab.Close()
	}
}
