package site

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/cmd/haloingest/internal/service/work"
)

// stream is a page's server-sent events.
type stream struct {
	l      *lab
	events chan map[string]string // closed with the stream
	end    context.CancelFunc
}

func (l *lab) listen(url string) *stream {
	l.tb.Helper()
	ctx, end := context.WithCancel(context.Background())
	l.tb.Cleanup(end)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	l.must(err)
	resp, err := http.DefaultClient.Do(req)
	l.must(err)
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || !strings.HasPrefix(kind, "text/event-stream") {
		l.tb.Fatalf("%d %s", resp.StatusCode, kind)
	}
	s := &stream{l, make(chan map[string]string, 100), end}
	go func() {
		defer close(s.events)
		defer func() { _ = resp.Body.Close() }()
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				regions := map[string]string{}
				if json.Unmarshal([]byte(data), &regions) == nil {
					s.events <- regions
				}
			}
		}
	}()
	return s
}

// until waits for an event whose region holds a text.
func (s *stream) until(region, text string) map[string]string {
	s.l.tb.Helper()
	late := time.After(time.Minute)
	for {
		select {
		case e, ok := <-s.events:
			if !ok {
				s.l.tb.Fatalf("the stream ended before %q", text)
			}
			if strings.Contains(e[region], text) {
				return e
			}
		case <-late:
			s.l.tb.Fatalf("no %q in %s within a minute", text, region)
		}
	}
}

func TestPagesThatAreLookedAtFollowWhatHappens(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	org := orgN(1)
	l.put(org, "Acme")
	l.synced(org, time.Minute)
	admin, viewer := l.serve(member(access.Admin)), l.serve(member(access.Viewer))
	at := orgURL(org.String()) + "/events"
	one, two, sees := l.listen(admin+at), l.listen(admin+at), l.listen(viewer+at)
	first := one.until("r-state", "Everything is in step")
	if len(first) != 5 || !strings.Contains(first["r-state"], "Sync now") {
		t.Errorf("the first event has %d regions", len(first))
	}
	two.until("r-state", "Everything is in step")
	if e := sees.until("r-state", "Everything is in step"); strings.Contains(e["r-state"], "<form") {
		t.Error("a viewer is offered something")
	}
	if n := len(l.site.watch.of); n != 1 {
		t.Errorf("%d watchers for one organisation", n)
	}
	l.must(l.store.SetWebhookSecret(context.Background(), org, secret.NewText("canary-secret-0001"), 0))
	for _, s := range []*stream{one, two, sees} {
		e := s.until("r-totals", ">configured<")
		if _, again := e["r-activity"]; again {
			t.Error("what has not changed is sent again")
		}
	}
	l.must(l.queue.Backfill(context.Background(), nil, org, work.BackfillOptions{}))
	one.until("r-state", "About to begin")
	l.run(org)
	e := one.until("r-state", "<progress")
	if strings.Contains(e["r-state"], "canary-") {
		t.Error("an event has a secret")
	}
	two.end()
	sees.end()
	l.site.Close()
	for {
		if _, ok := <-one.events; !ok {
			break
		}
	}
	l.site.watch.mu.Lock()
	defer l.site.watch.mu.Unlock()
	if l.site.watch.ctx.Err() == nil {
		t.Error("something still watches")
	}
}

func TestPagesSayThatTheDatabaseIsAwayAndComeBackWithIt(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	org := orgN(1)
	l.put(org, "Acme")
	l.synced(org, time.Minute)
	v := l.visit(member(access.Viewer))
	at := orgURL(org.String())
	s := l.listen(v.url + at + "/events")
	s.until("r-state", "Everything is in step")
	l.proxy.away(true)
	s.until("r-state", "The database cannot be reached")
	page := v.get(at)
	page.want(t, http.StatusServiceUnavailable, "The database cannot be reached", `http-equiv="refresh"`)
	if strings.Contains(page.body, l.db.Pool().Config().ConnConfig.Database) {
		t.Error("the page names the database")
	}
	l.proxy.away(false)
	s.until("r-state", "Everything is in step")
	v.get(at).want(t, http.StatusOK, "Everything is in step")
	s.end()
}
